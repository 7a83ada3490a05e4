//! The servers in `database.url`: one, or several that one cluster manager keeps, of which one accepts writes at a time.
//!
//! The form is libpq's: `postgres://user:password@db-1:5432,db-2:5432/name?sslmode=…`. The driver knows one host a URL.

use std::fs::File;

use percent_encoding::percent_decode_str;

/// Each of them is asked at every look for the primary.
const MOST: usize = 9;

/// Parameters that name a server too.
const NAMING: [&str; 3] = ["host", "hostaddr", "port"];

/// Other spellings are the driver's.
const AUTHORITY: &[&str] = &["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATE: &[&str] = &["sslcert", "ssl-cert"];
const KEY: &[&str] = &["sslkey", "ssl-key"];

const IN_ONE_PLACE: &str = "must name several servers in front of the database's name, and not in host=, hostaddr= or port=: \
     postgres://user:password@db-1:5432,db-2:5432/name";
const TOO_MANY: &str = "must name at most 9 servers";
const EMPTY: &str = "must not have an empty name in its list of servers";
const TWICE: &str = "must name each server once";

/// A URL for each server; none for an empty one.
pub(super) fn urls(url: &str) -> Result<Vec<String>, &'static str> {
    if url.is_empty() {
        return Ok(Vec::new());
    }
    let names_several =
        |value: &str| value.contains(',') || value.to_ascii_lowercase().contains("%2c");
    if NAMING.iter().filter_map(|name| parameter(url, name)).any(names_several) {
        return Err(IN_ONE_PLACE);
    }
    let (before, hosts, after) = parts(url);
    if hosts.to_ascii_lowercase().contains("%2c") {
        return Err(IN_ONE_PLACE);
    }
    let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
    if hosts.len() > 1 && NAMING.iter().any(|name| parameter(url, name).is_some()) {
        return Err(IN_ONE_PLACE);
    }
    match fault_of(&hosts) {
        Some(fault) => Err(fault),
        None => Ok(hosts.iter().map(|host| format!("{before}{host}{after}")).collect()),
    }
}

/// What is wrong with the certificate of this client, its key, or the authority that the servers' certificates are checked against.
pub(super) fn fault_of_files(url: &str) -> Option<String> {
    let value_of = |names: &[&str]| names.iter().find_map(|name| parameter(url, name));
    let (certificate, key) = (value_of(CERTIFICATE), value_of(KEY));
    if certificate.is_some() != key.is_some() {
        return Some("must name both, sslcert and sslkey, or neither".to_owned());
    }
    [("sslrootcert", value_of(AUTHORITY)), ("sslcert", certificate), ("sslkey", key)]
        .into_iter()
        .find_map(|(name, value)| fault_of_file(name, value?))
}

/// A value that is no path is the certificate itself.
fn fault_of_file(name: &str, value: &str) -> Option<String> {
    let path = percent_decode_str(value).decode_utf8_lossy();
    if path.trim_start().starts_with("-----BEGIN") {
        return None;
    }
    let error = File::open(&*path).err()?;
    Some(format!("names a file in {name} that cannot be read: {path}: {error}"))
}

/// What is wrong with a list of servers. A single one may be empty: then a parameter, or the driver's default, names it.
pub(super) fn fault_of(hosts: &[String]) -> Option<&'static str> {
    if hosts.len() > MOST {
        return Some(TOO_MANY);
    }
    if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty() || host.starts_with(':')) {
        return Some(EMPTY);
    }
    let is_twice = |(index, host): (usize, &String)| hosts[..index].contains(host);
    hosts.iter().enumerate().any(is_twice).then_some(TWICE)
}

/// The last value of a parameter.
pub(super) fn parameter<'url>(url: &'url str, name: &str) -> Option<&'url str> {
    let (_, query) = url.split_once('?')?;
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    parts.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}

/// What stands before the servers, the servers, and what stands behind them. A password may contain commas.
fn parts(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |index| index + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |index| start + index);
    let start = url[start..end].rfind('@').map_or(start, |index| start + index + 1);
    (&url[..start], &url[start..end], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_becomes_a_url_for_each() {
        let url = "postgres://u:a,b@db-1:5433,db-2,[::1]:5432/shop?sslmode=verify-full";

        let urls = urls(url).unwrap();

        assert_eq!(
            urls,
            [
                "postgres://u:a,b@db-1:5433/shop?sslmode=verify-full",
                "postgres://u:a,b@db-2/shop?sslmode=verify-full",
                "postgres://u:a,b@[::1]:5432/shop?sslmode=verify-full",
            ]
        );
    }

    #[test]
    fn one_server_stays_as_it_is() {
        for url in [
            "postgres://u:a,b@h:5432/shop",
            "postgres://u@[::1]:5432/shop?target_session_attrs=read-write",
            "postgres:///shop?host=/var/run/postgresql&application_name=a,b",
            "postgres://short",
        ] {
            assert_eq!(urls(url).unwrap(), [url]);
        }
        assert!(urls("").unwrap().is_empty());
    }

    #[test]
    fn files_of_tls_that_cannot_be_read_are_named() {
        let (readable, missing) = ("/proc/self/status", "/nowhere/a%20b.pem");
        for (parameters, fault) in [
            (format!("sslrootcert={missing}"), "sslrootcert that cannot be read: /nowhere/a b.pem"),
            (format!("sslcert={missing}&sslkey={readable}"), "sslcert that cannot be read"),
            (format!("ssl-cert={readable}&ssl-key={missing}"), "sslkey that cannot be read"),
            (format!("sslcert={readable}"), "must name both"),
            (format!("sslkey={readable}"), "must name both"),
        ] {
            let found = fault_of_files(&format!("postgres://u@h/shop?{parameters}"));
            assert!(found.as_deref().is_some_and(|found| found.contains(fault)), "{found:?}");
        }
        let good = format!("sslmode=verify-full&sslcert={readable}&sslkey={readable}");
        assert_eq!(fault_of_files(&format!("postgres://u@h/shop?{good}")), None);
        let inline = "postgres://u@h/shop?sslrootcert=-----BEGIN%20CERTIFICATE-----";
        assert_eq!(fault_of_files(inline), None);
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused() {
        let many: Vec<String> = (0..10).map(|number| format!("h{number}")).collect();
        for (url, fault) in [
            ("postgres:///shop?host=a,b", IN_ONE_PLACE),
            ("postgres:///shop?host=a%2Cb&port=5432", IN_ONE_PLACE),
            ("postgres://u@a%2Cb/shop", IN_ONE_PLACE),
            ("postgres://u@a,b/shop?port=5432", IN_ONE_PLACE),
            ("postgres://u@a,,b/shop", EMPTY),
            ("postgres://u@a,:5432/shop", EMPTY),
            ("postgres://u@a,b,a/shop", TWICE),
            (&format!("postgres://{}/shop", many.join(",")), TOO_MANY),
        ] {
            assert_eq!(urls(url).unwrap_err(), fault, "{url}");
        }
    }
}
