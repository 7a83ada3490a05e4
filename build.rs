//! Embeds the files of `migrations/`: `VERSION_description.sql`, in the order of their versions.
//!
//! Their texts and not their paths: a build folder that several checkouts share must not refer to one that is gone.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let mut migrations = Vec::new();
    for entry in fs::read_dir("migrations")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let unnamed =
            || io::Error::other(format!("{}: not VERSION_description.sql", path.display()));
        let (version, description) = name.split_once('_').ok_or_else(unnamed)?;
        let version: i64 = version.parse().map_err(|_| unnamed())?;
        migrations.push((version, description.replace('_', " "), fs::read_to_string(&path)?));
    }
    migrations.sort();
    let mut list = String::from("&[\n");
    for (version, description, sql) in migrations {
        writeln!(list, "    ({version}, {description:?}, {sql:?}),").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    let folder = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?;
    fs::write(PathBuf::from(folder).join("migrations.rs"), list)
}
