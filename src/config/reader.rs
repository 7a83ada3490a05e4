//! Reads typed values from the merged layers and collects every fault, so that all are reported at once.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::domain::time_text::parse_moment;

/// The merged layers and their faults. Methods return a valid value also after a fault.
pub(crate) struct Reader {
    layers: config::Config,
    from_environment: BTreeSet<String>,
    pub(crate) faults: Vec<String>,
}

impl Reader {
    pub(crate) fn new(
        layers: config::Config,
        from_environment: BTreeSet<String>,
        faults: Vec<String>,
    ) -> Self {
        Self { layers, from_environment, faults }
    }

    /// Whether the environment sets this key under its long name.
    pub(crate) fn is_from_environment(&self, key: &str) -> bool {
        self.from_environment.contains(key)
    }

    /// Records a fault. `what` must not contain the value, which may be a secret.
    pub(crate) fn fault(&mut self, key: &str, what: impl Display) {
        self.faults.push(format!("{key}: {what}"));
    }

    pub(crate) fn text(&mut self, key: &str) -> String {
        self.layers.get_string(key).unwrap_or_else(|_| {
            self.fault(key, "must be a text");
            String::new()
        })
    }

    /// A text that is not empty.
    pub(crate) fn filled(&mut self, key: &str) -> String {
        let text = self.text(key);
        if text.is_empty() {
            self.fault(key, "must not be empty");
        }
        text
    }

    /// The parts of a text between commas, without those that are empty.
    pub(crate) fn list(&mut self, key: &str) -> Vec<String> {
        let text = self.text(key);
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    /// Addresses and networks.
    pub(crate) fn networks(&mut self, key: &str) -> Vec<IpNet> {
        let network =
            |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        let networks = self.list(key).iter().map(network).collect::<Option<_>>();
        networks.unwrap_or_else(|| {
            self.fault(
                key,
                "must be empty, or addresses and networks such as 10.0.0.0/8, separated by commas",
            );
            Vec::new()
        })
    }

    pub(crate) fn secret(&mut self, key: &str) -> SecretString {
        SecretString::from(self.text(key))
    }

    /// The path of a file that exists and may be read; `None` if the text is empty, or after a fault.
    pub(crate) fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = Some(self.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from)?;
        if let Err(error) = std::fs::File::open(&path) {
            self.fault(key, format!("cannot read {}: {error}", path.display()));
            return None;
        }
        Some(path)
    }

    pub(crate) fn flag(&mut self, key: &str) -> bool {
        self.layers.get_bool(key).unwrap_or_else(|_| {
            self.fault(key, "must be true or false");
            false
        })
    }

    pub(crate) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let number = self.layers.get_int(key).ok().and_then(|number| T::try_from(number).ok());
        let Some(number) = number.filter(|number| range.contains(number)) else {
            let (low, high) = (*range.start(), *range.end());
            self.fault(key, format!("must be a whole number from {low} to {high}"));
            return low;
        };
        number
    }

    /// A number from 0 to 1.
    pub(crate) fn ratio(&mut self, key: &str) -> f64 {
        let ratio = self.layers.get_float(key).ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.unwrap_or_else(|| {
            self.fault(key, "must be a number from 0 to 1");
            0.0
        })
    }

    pub(crate) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let duration = self
            .layers
            .get_string(key)
            .ok()
            .and_then(|text| humantime::parse_duration(text.trim()).ok());
        let Some(duration) = duration.filter(|duration| range.contains(duration)) else {
            let (low, high) = (range.start(), range.end());
            let low_text = humantime::format_duration(*low);
            let high_text = humantime::format_duration(*high);
            self.fault(key, format!("must be a duration from {low_text} to {high_text}"));
            return *low;
        };
        duration
    }

    /// A time of RFC 3339, or `None` if the text is empty.
    pub(crate) fn time(&mut self, key: &str) -> Option<DateTime<Utc>> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        let time = parse_moment(text.trim());
        time.map_err(|error| self.fault(key, error)).ok()
    }

    /// The value of the named choice; `None` after a fault.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key);
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.fault(key, format!("must be one of {}", names.join(", ")));
        }
        chosen
    }
}
