// The description of the API, to be read: what `openapi.json` says, by tags and paths, with its schemas behind it.

import { node } from "./api.js";
import { drawBanner } from "./banner.js";
import { start, state } from "./state.js";
import { el } from "./ui.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const main = document.getElementById("main");

let api;

/** What a reference stands for. */
const resolve = (thing) => (thing.$ref ? thing.$ref.slice(2).split("/").reduce((at, name) => at[name], api) : thing);

const nameOf = (ref) => ref.split("/").pop();

const slug = (text) => text.replace(/[^\w]+/g, "-").toLowerCase();

/** A line in which `code` is marked as such. */
const marked = (text) => text.split("`").map((piece, at) => (at % 2 ? el("code", {}, piece) : piece));

/** Paragraphs of such lines. */
const prose = (text) => text.split("\n\n").map((part) => el("p", {}, marked(part)));

/** A schema in a line; what has a name of its own is a link to it. */
function type(schema) {
  if (schema.$ref) return [el("a", { href: `#schema-${slug(nameOf(schema.$ref))}` }, nameOf(schema.$ref))];
  if (schema.oneOf) return schema.oneOf.flatMap((one, at) => (at ? [" or ", ...type(one)] : type(one)));
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(", ")];
  if (schema.type === "array") return schema.prefixItems ? ["[", ...schema.prefixItems.flatMap((one, at) => (at ? [", ", ...type(one)] : type(one))), "]"] : ["list of ", ...type(schema.items)];
  const name = [schema.type].flat().join(" or ");
  const bounds = [
    schema.minimum !== undefined && schema.minimum !== 0 ? `from ${schema.minimum}` : null,
    schema.exclusiveMinimum !== undefined ? `above ${schema.exclusiveMinimum}` : null,
    schema.maximum !== undefined && schema.maximum < 2 ** 53 ? `up to ${schema.maximum.toLocaleString("en")}` : null,
    schema.maxLength !== undefined ? `up to ${schema.maxLength.toLocaleString("en")} long` : null,
    schema.default !== undefined ? `${schema.default} unless said` : null,
  ].filter(Boolean);
  return [bounds.length ? `${name}, ${bounds.join(", ")}` : name];
}

/** The members of an object, or of each of its forms. */
function members(schema) {
  if (schema.oneOf) {
    return schema.oneOf.map((one, at) => el("div", {}, at ? el("p", { class: "note" }, "or") : null, one.$ref ? el("p", {}, type(one)) : members(one)));
  }
  const rows = Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const inner = property.properties && !property.$ref ? property : property.items?.properties ? property.items : null;
    const row = el("tr", {},
      el("td", {}, el("code", {}, name), schema.required?.includes(name) ? null : el("span", { class: "note" }, " if any")),
      el("td", {}, type(property)), el("td", {}, property.description ? prose(property.description) : null));
    return inner ? [row, el("tr", {}, el("td", { colspan: "3", class: "inner" }, members(inner)))] : [row];
  });
  if (!rows.length) return el("p", {}, type(schema));
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows)));
}

function parameters(list) {
  if (!list.length) return null;
  const rows = list.map(resolve).map((one) => el("tr", {},
    el("td", {}, el("code", {}, one.name), el("span", { class: "note" }, ` ${one.in}${one.required ? "" : ", if any"}`)),
    el("td", {}, type(one.schema)), el("td", {}, one.description ? prose(one.description) : null)));
  return [el("h4", {}, "Asked with"), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows)))];
}

function bodies(content) {
  return Object.entries(content ?? {}).flatMap(([media, { schema }], at) => [at ? "; " : "", el("code", {}, media), ...(schema.$ref || schema.oneOf ? [" ", ...type(schema)] : [])]);
}

function responses(all) {
  const rows = Object.entries(all).map(([status, given]) => {
    const response = resolve(given);
    const headers = Object.keys(response.headers ?? {});
    return el("tr", { class: status < "300" ? "good" : "" }, el("td", {}, el("strong", {}, status)), el("td", {}, marked(response.description)), el("td", {}, bodies(response.content),
      headers.length ? el("span", { class: "note" }, " ", headers.join(", ")) : null));
  });
  const isGood = (row) => row.classList.contains("good");
  return [el("h4", {}, "Answered with"), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows.filter(isGood)))),
    el("details", {}, el("summary", {}, "Errors and redirects"), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows.filter((row) => !isGood(row))))))];
}

function operation(path, method, given, common) {
  return el("section", { class: "card", id: given.operationId },
    el("h3", {}, el("span", { class: method === "delete" ? "method bad" : "method" }, method.toUpperCase()), " ", el("code", {}, path)),
    el("p", {}, `${given.summary}.`), given.description ? prose(given.description) : null,
    parameters([...common, ...(given.parameters ?? [])]),
    given.requestBody ? [el("h4", {}, "Sent with"), el("p", {}, bodies(given.requestBody.content))] : null,
    responses(given.responses));
}

function draw() {
  const { info, tags, paths, components } = api;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, given: item[method], common: item.parameters ?? [] })));
  const of = (tag) => operations.filter(({ given }) => given.tags.includes(tag.name));
  const contents = el("div", { class: "card contents", role: "navigation", "aria-label": "Contents" }, tags.map((tag) => el("div", {}, el("h4", {}, tag.name),
    el("ul", {}, of(tag).map(({ path, method, given }) => el("li", {}, el("a", { href: `#${given.operationId}` }, `${method.toUpperCase()} ${path}`)))))));
  main.replaceChildren(
    el("h1", {}, `The HTTP API of ${info.title} ${info.version}`), ...prose(info.description), contents,
    ...tags.flatMap((tag) => [el("h2", {}, tag.name), ...prose(tag.description), ...of(tag).map(({ path, method, given, common }) => operation(path, method, given, common))]),
    el("h2", {}, "JSON"),
    ...Object.entries(components.schemas).map(([name, schema]) => el("section", { class: "card", id: `schema-${slug(name)}` }, el("h3", {}, name), schema.description ? prose(schema.description) : null, members(schema))));
  // What the address points at is there only now.
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const say = (isDown) => drawBanner(isDown, "docs");
state.addEventListener("status", () => say(false));
node.addEventListener("down", () => say(true));
start();

fetch("openapi.json").then((response) => response.json()).then((description) => {
  api = description;
  draw();
}).catch(() => main.replaceChildren(el("p", { class: "card" }, "The node does not answer. Load this page again when it does.")));
