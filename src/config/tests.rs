//! Loading of valid and invalid configurations.

#![cfg(test)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

fn load(environment: &[(&str, &str)]) -> Result<Config, InvalidConfig> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_environment(&environment, None)
}

fn faults(environment: &[(&str, &str)]) -> String {
    load(environment).unwrap_err().to_string()
}

#[test]
fn a_variable_that_is_not_utf_8_is_an_error_only_if_it_is_read() {
    let variable = |name: &str| (OsString::from(name), OsString::from_vec(vec![b'a', 0xff]));
    let nameless = (OsString::from_vec(vec![0xff]), OsString::from("a"));

    let others = layers::environment([variable("PS1"), nameless, ("A".into(), "b".into())]);

    assert_eq!(others.unwrap(), BTreeMap::from([("A".to_owned(), "b".to_owned())]));
    for ours in ["DATABASE_URL", "REDIS_URL", "FLASH_SALE_ENV", "FLASH_SALE__HTTP__PORT"] {
        let fault = layers::environment([variable(ours)]).unwrap_err();
        assert_eq!(fault, format!("{ours} is not UTF-8"));
    }
}

#[test]
fn the_development_profile_needs_no_settings() {
    let config = load(&[]).unwrap();

    assert_eq!(config.profile, "development");
    assert_eq!(config.database.max_connections, 10);
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn profiles_differ_in_their_pools() {
    let key = ("FLASH_SALE__CHECKOUT__CODE_KEYS", "a:MDEyMzQ1Njc4OWFiY2RlZg==");
    let config = load(&[("FLASH_SALE_ENV", "production"), key]).unwrap();

    assert_eq!(config.database.max_connections, 50);
    assert_eq!(config.database.idle_timeout, Duration::from_mins(5));
    assert_eq!(config.database.max_lifetime, Duration::from_mins(30));
}

#[test]
fn all_faults_are_reported_at_once() {
    let faults = faults(&[
        ("FLASH_SALE__HTTP__PORT", "99999"),
        ("FLASH_SALE__HTTP__COLOUR", "red"),
        ("FLASH_SALE__SHUTDOWN__DRAIN", "soon"),
        ("FLASH_SALE__DATABASE__SSL_MODE", "maybe"),
        ("FLASH_SALE__SCHEDULE__CRON", "whenever"),
        ("FLASH_SALE__SCHEDULE__TIME_ZONE", "Mars"),
        ("FLASH_SALE__LOG__LEVEL", "a=b=c"),
        ("FLASH_SALE__REDIS__KEY_PREFIX", "{shop}"),
    ]);

    for key in [
        "http.port",
        "http.colour",
        "shutdown.drain",
        "database.ssl_mode",
        "schedule.cron",
        "schedule.time_zone",
        "log.level",
        "redis.key_prefix",
    ] {
        assert!(faults.contains(key), "{key} is missing in: {faults}");
    }
}

#[test]
fn a_schedule_that_never_starts_is_a_fault() {
    assert!(faults(&[("FLASH_SALE__SCHEDULE__CRON", "0 0 0 30 2 *")]).contains("schedule.cron"));
}

#[test]
fn a_list_of_servers_that_cannot_be_meant_and_a_standby_are_refused_with_what_to_do() {
    for url in [
        "postgres:///shop?host=a,b",
        "postgres://u@a,a/shop",
        "postgres://u@a/shop?target_session_attrs=standby",
        "postgres://u@a,b/shop?target_session_attrs=prefer-standby",
    ] {
        assert!(faults(&[("DATABASE_URL", url)]).contains("database.url: must"), "{url}");
    }
    assert!(faults(&[("FLASH_SALE__DATABASE__HOST", "a,")]).contains("database.host: must"));
    for url in [
        "postgres://u@a:5432,b:5432/shop",
        "postgres://u:a,b@h:5432/shop",
        "postgres://u@[::1]:5432/shop?target_session_attrs=read-write",
        "postgres:///shop?host=/var/run/postgresql&application_name=a,b",
    ] {
        load(&[("DATABASE_URL", url)]).unwrap();
    }
}

#[test]
fn a_certificate_authority_that_cannot_be_read_is_named() {
    let missing = "/nowhere/authority.pem";
    let faults = faults(&[
        ("FLASH_SALE__DATABASE__SSL_ROOT_CERT", missing),
        ("FLASH_SALE__REDIS__SSL_ROOT_CERT", missing),
    ]);

    for key in ["database.ssl_root_cert", "redis.ssl_root_cert"] {
        assert!(faults.contains(&format!("{key}: cannot read {missing}: ")), "{faults}");
    }
}

#[test]
fn a_certificate_authority_for_redis_needs_tls() {
    let authority = ("FLASH_SALE__REDIS__SSL_ROOT_CERT", "/proc/self/status");
    assert!(faults(&[authority]).contains("rediss://"));
    load(&[authority, ("REDIS_URL", "rediss://localhost:6379")]).unwrap();
}

#[test]
fn further_headers_of_pages_are_names_of_headers() {
    let key = "FLASH_SALE__HTTP__CORS__HEADERS";

    let config = load(&[(key, "X-Shop-Session, x-tab")]).unwrap();

    assert_eq!(config.http.cors.headers, ["x-shop-session", "x-tab"]);
    for wrong in ["*", "x shop", "x-shop: 1", "größe"] {
        assert!(faults(&[(key, wrong)]).contains("http.cors.headers"), "{wrong}");
    }
}

#[test]
fn the_port_for_operators_needs_a_secret_of_its_own_in_production() {
    let production = [
        ("FLASH_SALE_ENV", "production"),
        ("FLASH_SALE__CHECKOUT__CODE_KEYS", "a:MDEyMzQ1Njc4OWFiY2RlZg=="),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&production, more].concat();
    let port = ("FLASH_SALE__ADMIN__PORT", "8081");
    let secret = |secret| ("FLASH_SALE__AUTH__API_KEYS__SECRET", secret);

    let off = load(&production).unwrap();
    let on = load(&with(&[port, secret("0123456789abcdef")])).unwrap();

    assert_eq!((off.admin.port, on.admin.port), (None, Some(8081)));
    assert!(off.api_keys.secret.is_none() && on.api_keys.secret.is_some());
    assert!(load(&[port]).unwrap().api_keys.secret.is_some());
    for (settings, fault) in [
        (vec![port], "is needed with admin.port"),
        (vec![secret("0123456789abcde")], "at least 16 bytes"),
        (vec![port, secret("flash-sale development secret of api keys")], "development secret"),
    ] {
        let faults = faults(&with(&settings));
        assert!(faults.contains("auth.api_keys.secret") && faults.contains(fault), "{faults}");
        assert!(!faults.contains("0123456789"), "{faults}");
    }
}

#[test]
fn an_unknown_profile_is_an_error() {
    assert!(faults(&[("FLASH_SALE_ENV", "staging")]).contains("FLASH_SALE_ENV"));
}

#[test]
fn production_refuses_the_development_key_and_no_key() {
    let development =
        ("FLASH_SALE__CHECKOUT__CODE_KEYS", "x:Zmxhc2gtc2FsZSBkZXZlbG9wbWVudCBrZXkhIQ==");

    assert!(faults(&[("FLASH_SALE_ENV", "production"), development]).contains("development key"));
    assert!(faults(&[("FLASH_SALE_ENV", "production")]).contains("at least one key"));
}

#[test]
fn the_longer_name_wins_over_the_short_one() {
    let config = load(&[
        ("DATABASE_URL", "postgres://short"),
        ("FLASH_SALE__DATABASE__URL", "postgres://long"),
        ("REDIS_URL", "redis://short"),
    ])
    .unwrap();

    assert_eq!(config.database.url.expose_secret(), "postgres://long");
    assert_eq!(config.redis.url.expose_secret(), "redis://short");
}

#[test]
fn a_part_that_the_environment_names_wins_over_the_url() {
    let config =
        load(&[("DATABASE_URL", "postgres://short"), ("FLASH_SALE__DATABASE__HOST", "elsewhere")])
            .unwrap();

    assert_eq!(config.database.parts.hosts, ["elsewhere"]);
    assert_eq!(config.database.parts.port, None);
}

#[test]
fn a_secret_can_come_from_a_file_and_is_never_shown() {
    let file = std::env::temp_dir().join(format!("flash-sale-secret-{}", std::process::id()));
    std::fs::write(&file, "hunter2\n").unwrap();
    let config = load(&[("FLASH_SALE__DATABASE__PASSWORD_FILE", file.to_str().unwrap())]).unwrap();
    std::fs::remove_file(&file).unwrap();

    let password = config.database.parts.password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn faults_never_contain_values() {
    let faults = faults(&[("FLASH_SALE__CHECKOUT__CODE_KEYS", "hunter2:hunter2")]);

    assert!(!faults.contains("hunter2"), "{faults}");
}

#[test]
fn keys_of_redis_that_contradict_each_other_are_refused_with_what_to_do() {
    let cluster = ("FLASH_SALE__REDIS__MODE", "cluster");
    let sentinel = ("FLASH_SALE__REDIS__MODE", "sentinel");
    let nodes = ("FLASH_SALE__REDIS__NODES", "redis-1:6379,redis-2:6379");
    let name = ("FLASH_SALE__REDIS__SENTINEL__MASTER_NAME", "shop");
    let password = ("FLASH_SALE__REDIS__SENTINEL__PASSWORD", "secret");
    for (settings, part) in [
        (&[cluster][..], "redis.nodes: must name nodes of the cluster"),
        (&[sentinel, name], "redis.nodes: must name the Sentinels"),
        (&[sentinel, nodes], "redis.sentinel.master_name: must be the name of the master"),
        (&[nodes], "redis.nodes: needs redis.mode sentinel or cluster"),
        (&[name], "redis.sentinel.master_name: needs redis.mode sentinel"),
        (&[cluster, nodes, password], "redis.sentinel.password: needs redis.mode sentinel"),
        (
            &[cluster, nodes, ("REDIS_URL", "redis://a/2")],
            "redis.mode: a cluster has only the database 0",
        ),
        (&[cluster, nodes, ("REDIS_URL", "unix:///run/redis")], "redis.mode: must be single"),
        (
            &[("FLASH_SALE__REDIS__MODE", "ring")],
            "redis.mode: must be one of single, sentinel, cluster",
        ),
        (
            &[cluster, ("FLASH_SALE__REDIS__NODES", "a:1,redis://u:hidden@b")],
            "redis.nodes: entry 2 must be host:port",
        ),
    ] {
        let faults = faults(settings);
        assert_eq!(faults.matches("\n  ").count(), 1, "{faults}");
        assert!(
            faults.contains(part) && !faults.contains("hidden"),
            "{part} is missing in: {faults}"
        );
    }
    assert!(load(&[cluster, nodes]).is_ok() && load(&[sentinel, nodes, name, password]).is_ok());
}

#[test]
fn keys_of_traces_are_checked() {
    let faults = faults(&[
        ("FLASH_SALE__TELEMETRY__OTLP__ENDPOINT", "collector:4318"),
        ("FLASH_SALE__TELEMETRY__OTLP__HEADERS", "authorization"),
        ("FLASH_SALE__TELEMETRY__SAMPLE_RATIO", "1.5"),
        ("FLASH_SALE__TELEMETRY__SERVICE_NAME", ""),
    ]);

    for key in ["otlp.endpoint", "otlp.headers", "sample_ratio", "service_name"] {
        assert!(faults.contains(&format!("telemetry.{key}:")), "{key} is missing in: {faults}");
    }
    assert!(load(&[]).unwrap().telemetry.otlp.is_none());
}

/// The keys of `config/default.yaml` whose comment ends with `[live]`, in its order.
fn marked() -> Vec<String> {
    let (mut path, mut is_marked, mut found) = (Vec::<&str>::new(), false, Vec::new());
    for line in include_str!("../../config/default.yaml").lines() {
        let text = line.trim_start();
        if text.starts_with('#') {
            is_marked = text.ends_with("[live]");
        } else if let Some((name, _)) = text.split_once(':') {
            path.truncate((line.len() - text.len()) / 2);
            path.push(name);
            if is_marked {
                found.push(path.join("."));
            }
            is_marked = false;
        }
    }
    found
}

#[test]
fn exactly_the_keys_that_change_without_a_restart_are_marked() {
    let mut marked = marked();
    marked.sort();

    assert_eq!(marked, LIVE_KEYS);
}

#[test]
fn changed_keys_are_named_and_no_others() {
    let before = load(&[("FLASH_SALE__HTTP__PORT", "1")]).unwrap();
    let after =
        load(&[("FLASH_SALE__HTTP__PORT", "2"), ("FLASH_SALE__LOG__LEVEL", "debug")]).unwrap();

    assert_eq!(after.changed_since(&before), ["http.port", "log.level"]);
    assert_eq!(after.changed_since(&after), [] as [String; 0]);
}

#[test]
fn a_setting_follows_the_configuration_in_force() {
    let in_force = InForce::new(load(&[]).unwrap());
    let port = in_force.setting(|config| config.http.port);
    let before = port.get();

    in_force.replace(load(&[("FLASH_SALE__HTTP__PORT", "7")]).unwrap().into());

    assert_eq!((before, port.get()), (8080, 7));
    assert_eq!(Setting::fixed(3).get(), 3);
}

#[test]
fn transaction_mode_of_a_pooler_is_refused_with_what_to_set() {
    let faults = faults(&[("FLASH_SALE__DATABASE__POOLER", "transaction")]);

    assert!(faults.contains("set pool_mode = session"), "{faults}");
    assert_eq!(
        load(&[("FLASH_SALE__DATABASE__POOLER", "session")]).unwrap().database.pooler,
        Pooler::Session
    );
}

#[test]
fn sales_are_kept_for_ever_or_for_some_time() {
    assert_eq!(load(&[]).unwrap().retention.keep, None);
    let kept = load(&[("FLASH_SALE__RETENTION__KEEP", "90d")]).unwrap();
    assert_eq!(kept.retention.keep, Some(Duration::from_hours(24 * 90)));
    for wrong in ["90", "0s", "for ever"] {
        assert!(faults(&[("FLASH_SALE__RETENTION__KEEP", wrong)]).contains("retention.keep"));
    }
}
