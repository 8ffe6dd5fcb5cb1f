//! Hosts that are network namespaces: each has an address of its own, and hears of each other what a test lets it hear.
//!
//! This is the network as it is: what is not let through is dropped by the kernel, so connecting hangs, and a
//! connection that stands says nothing. It takes root, `ip` and `iptables`. The process of the test has an address in
//! it too, which every host always hears.
//!
//! All of it goes on drop. What a killed test has left is removed by the next one that starts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What all names begin with; the process's number follows.
const PREFIX: &str = "pykv";

/// See the module.
pub struct Namespaces {
    /// What the names of this one begin with.
    name: String,
    subnet: [u8; 3],
    hosts: usize,
}

impl Namespaces {
    /// A network of so many hosts that all hear each other; why not, where there can be none.
    pub fn start(hosts: usize) -> Result<Namespaces, String> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        remove_leftovers();
        let count = COUNT.fetch_add(1, Relaxed);
        let process = std::process::id();
        let network = Namespaces {
            name: format!("{PREFIX}{process}n{count}"),
            // A part of 10.0.0.0/8 that is free here.
            subnet: (0..=u8::MAX)
                .map(|step| [10, 128 + (process % 128) as u8, count.wrapping_add(step)])
                .find(|subnet| !is_in_use(subnet))
                .ok_or("no addresses are free")?,
            hosts,
        };
        network.make()?;
        Ok(network)
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.hub();
        run("ip", &["netns", "add", &hub])?;
        let bridge = [
            "-n",
            &hub,
            "link",
            "add",
            "bridge",
            "type",
            "bridge",
            "forward_delay",
            "0",
        ];
        run("ip", &bridge)?;
        run("ip", &["-n", &hub, "link", "set", "bridge", "up"])?;
        for host in 0..self.hosts {
            let namespace = self.namespace(host);
            run("ip", &["netns", "add", &namespace])?;
            let port = format!("h{host}");
            let veth = [
                "link", "add", "eth", "netns", &namespace, "type", "veth", "peer", "name", &port, "netns",
                &hub,
            ];
            run("ip", &veth)?;
            self.plug_in(&port)?;
            let address = format!("{}/24", self.address(host));
            run(
                "ip",
                &["-n", &namespace, "address", "add", &address, "dev", "eth"],
            )?;
            run("ip", &["-n", &namespace, "link", "set", "eth", "up"])?;
            run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
            // That it works is seen before a test relies on it.
            run(
                "ip",
                &["netns", "exec", &namespace, "iptables", "-w", "-F", "INPUT"],
            )?;
        }
        let device = self.device();
        run(
            "ip",
            &[
                "link", "add", &device, "type", "veth", "peer", "name", "test", "netns", &hub,
            ],
        )?;
        self.plug_in("test")?;
        let [a, b, c] = self.subnet;
        run(
            "ip",
            &["address", "add", &format!("{a}.{b}.{c}.1/24"), "dev", &device],
        )?;
        run("ip", &["link", "set", &device, "up"])
    }

    fn plug_in(&self, port: &str) -> Result<(), String> {
        run(
            "ip",
            &["-n", &self.hub(), "link", "set", port, "master", "bridge", "up"],
        )
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// The test's own end. Its name is short: the kernel takes 15 bytes.
    fn device(&self) -> String {
        self.name.clone()
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> IpAddr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, 10 + host as u8).into()
    }

    /// What runs a command at a host, before the command.
    pub fn wrapper(&self, host: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(host)]
            .map(str::to_owned)
            .to_vec()
    }

    /// A host hears nothing of another one any more.
    pub fn silence(&self, from: usize, to: usize) {
        let from = self.address(from).to_string();
        self.filter(to, &["-A", "INPUT", "-s", &from, "-j", "DROP"]);
    }

    /// All hosts hear each other again.
    pub fn heal(&self) {
        for host in 0..self.hosts {
            self.filter(host, &["-F", "INPUT"]);
        }
    }

    fn filter(&self, host: usize, rule: &[&str]) {
        let namespace = self.namespace(host);
        let args = [&["netns", "exec", &namespace, "iptables", "-w"], rule].concat();
        run("ip", &args).unwrap();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes all of a network. The devices in a namespace go with it, and with them their other ends.
fn remove(name: &str) {
    let _ = run("ip", &["link", "del", name]);
    for namespace in namespaces() {
        if namespace
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('-'))
        {
            let _ = run("ip", &["netns", "del", &namespace]);
        }
    }
}

fn remove_leftovers() {
    for namespace in namespaces() {
        let process = namespace
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('n'));
        let is_dead = |process: &str| {
            process.parse::<u32>().is_ok() && fs::metadata(format!("/proc/{process}")).is_err()
        };
        if process.is_some_and(|(process, _)| is_dead(process))
            && let Some((name, _)) = namespace.rsplit_once('-')
        {
            remove(name);
        }
    }
}

/// The names of all namespaces of the machine.
fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn is_in_use([a, b, c]: &[u8; 3]) -> bool {
    let routes = Command::new("ip").args(["-4", "route"]).output();
    routes.is_ok_and(|routes| {
        let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
        routes.contains(&format!("{a}.{b}.{c}."))
    })
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program} {}: {}", args.join(" "), said.trim()))
        }
    }
}
