//! What each file of a crate uses of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// A source file.
pub struct File {
    /// Its path below `src`.
    pub name: String,
    /// The files that it uses, and by which names.
    pub uses: BTreeMap<String, BTreeSet<String>>,
    /// Its lines before its tests.
    pub lines: usize,
    /// All paths that it spells, imports and others, as they stand there.
    pub spelt: BTreeSet<String>,
    module: Vec<String>,
    paths: Vec<Vec<String>>,
    /// What it hands on: a name, and the path that it stands for.
    hands_on: BTreeMap<String, Vec<String>>,
}

/// The files of a crate, by name.
pub struct Tree {
    files: BTreeMap<String, File>,
    /// The file of each module.
    modules: BTreeMap<Vec<String>, String>,
}

impl File {
    /// The module at the top of the crate that it is in.
    pub fn top_module(&self) -> &str {
        File::top_module_of(&self.name)
    }

    /// That of a file by its name.
    pub fn top_module_of(name: &str) -> &str {
        name.split('/').next().unwrap().trim_end_matches(".rs")
    }
}

impl Tree {
    /// Reads all files below a directory that are no tests.
    pub fn read(src: &Path) -> Tree {
        let mut tree = Tree {
            files: BTreeMap::new(),
            modules: BTreeMap::new(),
        };
        for path in sources(src) {
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut names = Names::default();
            names.visit_file(&parsed);
            // What is handed on and used here as well is used.
            let here = names
                .hands_on
                .iter()
                .filter(|(name, _)| names.words.contains(*name));
            let here: Vec<Vec<String>> = here.map(|(_, path)| path.clone()).collect();
            names.paths.extend(here);
            let module = module_of(&name);
            tree.modules.insert(module.clone(), name.clone());
            let file = File {
                name: name.clone(),
                uses: BTreeMap::new(),
                spelt: names.spelt,
                lines: text.lines().take_while(|line| *line != "#[cfg(test)]").count(),
                module,
                paths: names.paths,
                hands_on: names.hands_on,
            };
            tree.files.insert(name, file);
        }
        tree.resolve();
        tree
    }

    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    pub fn file(&self, name: &str) -> &File {
        &self.files[name]
    }

    fn resolve(&mut self) {
        let mut uses = BTreeMap::new();
        for file in self.files.values() {
            let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for path in &file.paths {
                if let Some(to) = self.target(&file.module, path, 0)
                    && to != file.name
                {
                    used.entry(to).or_default().insert(path.last().unwrap().clone());
                }
            }
            uses.insert(file.name.clone(), used);
        }
        for (name, used) in uses {
            self.files.get_mut(&name).unwrap().uses = used;
        }
    }

    /// The file that a path leads to from within a module; none where it leads out of the crate.
    fn target(&self, from: &[String], path: &[String], depth: usize) -> Option<String> {
        assert!(depth < 16, "{path:?} is handed on in a circle");
        let mut module = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            // The program's own file names the library.
            "crate" | "pykv" => (module, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [from, &[first.to_owned()]].concat();
                self.modules.get(&child)?;
            }
        }
        while let Some(next) = rest.first() {
            let child = [&module[..], std::slice::from_ref(next)].concat();
            if !self.modules.contains_key(&child) {
                break;
            }
            (module, rest) = (child, &rest[1..]);
        }
        let file = self.modules.get(&module)?;
        match rest.first().and_then(|name| self.files[file].hands_on.get(name)) {
            Some(path) => self.target(&module, path, depth + 1).or(Some(file.clone())),
            None => Some(file.clone()),
        }
    }

    /// Sets of files that use each other in a circle: the strongly connected components of more than one file.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> = self
            .files
            .keys()
            .map(|name| (name.as_str(), self.reached_from(name)))
            .collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (name, reached) in &reach {
            if !reached.contains(name) || circles.iter().any(|circle| circle.contains(*name)) {
                continue;
            }
            let circle = reached.iter().filter(|other| reach[*other].contains(name));
            circles.push(circle.map(|name| (*name).to_owned()).collect());
        }
        circles
    }

    fn reached_from(&self, name: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.files[name].uses.keys().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.files[next].uses.keys().map(String::as_str));
            }
        }
        reached
    }
}

/// The paths of all `.rs` files that are no tests.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if stem == "tests" {
            continue;
        }
        match path.extension() {
            _ if path.is_dir() => found.extend(sources(&path)),
            Some(extension) if extension == "rs" => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The module that a file is: `wal/mod.rs` and `log.rs` are both `log`.
fn module_of(name: &str) -> Vec<String> {
    let mut module: Vec<String> = name
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    let is_head = module.last().is_some_and(|last| last == "mod") || module == ["lib"];
    if is_head {
        module.pop();
    }
    module
}

/// The names that a file uses and hands on.
#[derive(Default)]
struct Names {
    paths: Vec<Vec<String>>,
    hands_on: BTreeMap<String, Vec<String>>,
    /// The first words of all paths that are no imports.
    words: BTreeSet<String>,
    spelt: BTreeSet<String>,
}

/// Whether something is there for tests or fuzzing alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = match &attribute.meta {
            syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string(),
            _ => return false,
        };
        text.contains("test") && !text.contains("not")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        spell(&item.tree, &mut Vec::new(), &mut paths);
        for (path, name) in paths {
            self.spelt.insert(path.join("::"));
            match item.vis {
                Visibility::Inherited => self.paths.push(path),
                _ => drop(self.hands_on.insert(name, path)),
            }
        }
    }

    /// Who may see something is no use of it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.words.insert(segments[0].clone());
        self.spelt.insert(segments.join("::"));
        if path.leading_colon.is_none()
            && matches!(segments[0].as_str(), "crate" | "super" | "self")
            && segments.len() > 1
        {
            self.paths.push(segments);
        }
        visit::visit_path(self, path);
    }
}

/// Spells out the paths of a `use`, each with the name that it gets.
fn spell(tree: &UseTree, before: &mut Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            spell(&path.tree, before, paths);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                spell(tree, before, paths);
            }
        }
        UseTree::Name(name) if name.ident == "self" => {
            paths.push((before.clone(), before.last().unwrap().clone()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            paths.push(([&before[..], std::slice::from_ref(&name)].concat(), name));
        }
        UseTree::Rename(rename) => {
            let path = [&before[..], &[rename.ident.to_string()]].concat();
            paths.push((path, rename.rename.to_string()));
        }
        UseTree::Glob(_) => paths.push((before.clone(), "*".to_owned())),
    }
}
