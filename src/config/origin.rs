//! Where a configuration came from, so that it can be loaded again and compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::layers::{Layers, keys};
use super::{Config, InvalidConfig};

/// Where a configuration came from, and its values as texts.
#[derive(Debug)]
pub(super) struct Origin {
    folder: Option<PathBuf>,
    /// Files that it was read from, and those that it would have been read from.
    files: Vec<PathBuf>,
    /// Files of the folder that were there.
    present: Vec<PathBuf>,
    /// Each may be a secret.
    values: BTreeMap<String, SecretString>,
}

impl Origin {
    pub(super) fn of(layers: &Layers, folder: Option<&Path>) -> Self {
        let value = |key: String| {
            let text = layers.merged.get_string(&key).unwrap_or_default();
            (key, SecretString::from(text))
        };
        let in_folder = |file: &&PathBuf| folder.is_some_and(|folder| file.starts_with(folder));
        let present = layers.files.iter().filter(in_folder).filter(|file| file.exists());
        Self {
            folder: folder.map(Path::to_path_buf),
            present: present.cloned().collect(),
            files: layers.files.clone(),
            values: keys(&layers.merged).into_iter().map(value).collect(),
        }
    }
}

impl Config {
    /// The folder of its files, if it has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.origin.folder.as_deref()
    }

    /// The files that may change it.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.origin.files
    }

    /// Loads all layers again. Beyond what [`Self::load`] checks, a file that was there must be there and say something: one that is
    /// gone or empty would silently mean the defaults.
    pub fn reload(&self) -> Result<Self, InvalidConfig> {
        let mut faults: Vec<String> =
            self.origin.present.iter().filter_map(|file| fault_of(file)).collect();
        match Self::load(self.folder()) {
            Ok(config) if faults.is_empty() => Ok(config),
            Ok(_) => Err(InvalidConfig(faults)),
            Err(InvalidConfig(others)) => {
                faults.extend(others);
                Err(InvalidConfig(faults))
            }
        }
    }

    /// The keys whose values differ from those of another configuration, in order.
    #[must_use]
    pub fn changed_since(&self, other: &Self) -> Vec<String> {
        let before = &other.origin.values;
        let differs = |key: &&String| {
            let [new, old] = [&self.origin.values, before].map(|values| values.get(*key));
            let text =
                |value: Option<&SecretString>| value.map(|value| value.expose_secret().to_owned());
            text(new) != text(old)
        };
        self.origin.values.keys().filter(differs).cloned().collect()
    }
}

/// What is wrong with a file that was there before, beyond its content.
fn fault_of(file: &Path) -> Option<String> {
    let is_content = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---"
    };
    match std::fs::read_to_string(file) {
        Ok(text) if text.lines().any(is_content) => None,
        Ok(_) => Some(format!("{}: the file is empty", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("{}: the file is gone", file.display()))
        }
        // Loading it says why.
        Err(_) => None,
    }
}
