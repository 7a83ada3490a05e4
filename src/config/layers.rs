//! The layers: defaults, a profile and the environment; later layers override earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{File, FileFormat, Value, ValueKind};

/// Prefix of every key's variable.
const PREFIX: &str = "FLASH_SALE__";
/// The variable that names the profile.
const PROFILE: &str = "FLASH_SALE_ENV";
/// Suffix of a variable that names a file with the value.
const FILE_SUFFIX: &str = "_file";
/// Variables without the prefix, and their keys.
const SHORT_NAMES: [(&str, &str); 2] =
    [("DATABASE_URL", "database.url"), ("REDIS_URL", "redis.url")];
/// Profiles in the binary.
const EMBEDDED: [(&str, &str); 2] = [
    ("development", include_str!("../../config/development.yaml")),
    ("production", include_str!("../../config/production.yaml")),
];
const DEFAULTS: &str = include_str!("../../config/default.yaml");

/// The merged layers.
pub(crate) struct Layers {
    pub(crate) merged: config::Config,
    pub(crate) profile: String,
    /// Keys that the environment sets under their long names.
    pub(crate) from_environment: BTreeSet<String>,
    pub(crate) faults: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// Files of the folder, read or looked for, and those that the environment names.
    pub(crate) files: Vec<PathBuf>,
}

/// The environment, read once.
pub(crate) type Environment = BTreeMap<String, String>;

/// The variables of a process. What is not UTF-8 is another program's, unless this one would read it: then its name is the error.
pub(crate) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, String> {
    let mut environment = Environment::new();
    for (name, value) in variables {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                environment.insert(name, value);
            }
            (Ok(name), Err(_)) if is_ours(&name) => return Err(format!("{name} is not UTF-8")),
            _ => {}
        }
    }
    Ok(environment)
}

fn is_ours(name: &str) -> bool {
    name == PROFILE
        || name.starts_with(PREFIX)
        || SHORT_NAMES.iter().any(|(short, _)| *short == name)
}

/// Merges all layers. Defaults and profiles in `folder` replace those in the binary.
pub(crate) fn merge(environment: &Environment, folder: Option<&Path>) -> Result<Layers, String> {
    let mut warnings = Vec::new();
    let profile = environment.get(PROFILE).cloned().unwrap_or_else(|| {
        warnings.push(format!("{PROFILE} is not set: using the profile development"));
        "development".to_owned()
    });
    let defaults = read(folder, "default")?.unwrap_or_else(|| DEFAULTS.to_owned());
    let embedded =
        EMBEDDED.iter().find(|(name, _)| *name == profile).map(|(_, text)| (*text).to_owned());
    let Some(on_top) = read(folder, &profile)?.or(embedded) else {
        return Err(format!(
            "{PROFILE}: there is no profile of this name; use development or production"
        ));
    };
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    files.extend(folder.into_iter().flat_map(|folder| of_folder(folder, &profile)));
    let known = keys(&build(&[DEFAULTS])?);
    let (set, from_environment) = overrides(environment, &known, (&mut faults, &mut files));
    let mut builder = config::Config::builder();
    // The defaults in the binary lie below those of the folder, so a key that it leaves out has its default.
    for text in [DEFAULTS, defaults.as_str(), on_top.as_str()] {
        builder = builder.add_source(File::from_str(text, FileFormat::Yaml));
    }
    for (key, value) in set {
        builder = builder.set_override(&key, value).map_err(|error| error.to_string())?;
    }
    let merged = builder.build().map_err(|error| error.to_string())?;
    let unknown = keys(&merged).into_iter().filter(|key| !known.contains(key));
    faults.extend(unknown.map(|key| format!("{key}: there is no such key")));
    Ok(Layers { merged, profile, from_environment, faults, warnings, files })
}

/// The files of a folder that a profile is read from.
fn of_folder(folder: &Path, profile: &str) -> [PathBuf; 2] {
    ["default", profile].map(|name| folder.join(format!("{name}.yaml")))
}

fn read(folder: Option<&Path>, name: &str) -> Result<Option<String>, String> {
    let Some(folder) = folder else {
        return Ok(None);
    };
    // The profile's name comes from the environment: only a plain name becomes part of a path.
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter)) {
        return Ok(None);
    }
    let path = folder.join(format!("{name}.yaml"));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn build(texts: &[&str]) -> Result<config::Config, String> {
    let mut builder = config::Config::builder();
    for text in texts {
        builder = builder.add_source(File::from_str(text, FileFormat::Yaml));
    }
    builder.build().map_err(|error| error.to_string())
}

/// All keys with a value, as `a.b`.
pub(crate) fn keys(layers: &config::Config) -> BTreeSet<String> {
    fn insert_keys(prefix: &str, value: &Value, keys: &mut BTreeSet<String>) {
        match &value.kind {
            ValueKind::Table(table) => {
                for (name, value) in table {
                    let key =
                        if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    insert_keys(&key, value, keys);
                }
            }
            _ => {
                keys.insert(prefix.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    insert_keys("", &layers.cache, &mut found);
    found
}

/// The values that the environment sets, by key, and the keys that it sets under their long names.
fn overrides(
    environment: &Environment,
    known: &BTreeSet<String>,
    (faults, files): (&mut Vec<String>, &mut Vec<PathBuf>),
) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let mut set = BTreeMap::new();
    for (short, key) in SHORT_NAMES {
        if let Some(value) = environment.get(short).filter(|value| !value.is_empty()) {
            set.insert(key.to_owned(), value.clone());
        }
    }
    let mut long = BTreeSet::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let holder = key.strip_suffix(FILE_SUFFIX).filter(|holder| known.contains(*holder));
        let (key, value) = match holder {
            None => (key, value.clone()),
            Some(holder) => {
                files.push(PathBuf::from(value));
                match std::fs::read_to_string(value) {
                    Ok(text) => (holder.to_owned(), text.trim_end_matches(['\n', '\r']).to_owned()),
                    Err(error) => {
                        let why = format!("cannot read the file that {name} names: {error}");
                        faults.push(format!("{holder}: {why}"));
                        continue;
                    }
                }
            }
        };
        if !known.contains(&key) {
            faults.push(format!("{name}: there is no key {key}"));
            continue;
        }
        if !long.insert(key.clone()) {
            faults.push(format!("{key}: given twice, by value and by file"));
        }
        set.insert(key, value);
    }
    (set, long)
}
