//! Lists the files of `migrations/`, so that the binary embeds each: `VERSION_description.sql`, in the order of their versions.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let folder =
        Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("migrations");
    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let unnamed =
            || io::Error::other(format!("{}: not VERSION_description.sql", path.display()));
        let (version, description) = name.split_once('_').ok_or_else(unnamed)?;
        let version: i64 = version.parse().map_err(|_| unnamed())?;
        migrations.push((version, description.replace('_', " "), path));
    }
    migrations.sort();
    let mut list = String::from("&[\n");
    for (version, description, path) in migrations {
        list.push_str(&format!("    ({version}, {description:?}, include_str!({path:?})),\n"));
    }
    list.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("migrations.rs"), list)
}
