//! Where a configuration came from, so that it can be loaded again and compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::layers::{Layers, keys};

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

    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What is wrong with the files that were there, beyond their content.
    pub(super) fn faults(&self) -> Vec<String> {
        self.present.iter().filter_map(|file| fault_of(file)).collect()
    }

    /// The keys whose values differ, in order.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<String> {
        let differs = |key: &&String| {
            let [new, old] = [self, before].map(|origin| origin.values.get(*key));
            let text =
                |value: Option<&SecretString>| value.map(|value| value.expose_secret().to_owned());
            text(new) != text(old)
        };
        self.values.keys().filter(differs).cloned().collect()
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
