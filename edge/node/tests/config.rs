//! Configuration from outside: what an operator meets.
//!
//! Why: every promise of docs and help (precedence, nearest key, bounds, sample) is held over the whole
//! table, so a new key is tested by being declared.
//! Not here: edit distance (`config/suggest.rs`), what the values do.

use grandstand::config_command;
use grandstand_edge::config::{self, Config, ConfigError, Effective, Key, LogLevel, Right, RoomDurability};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[test]
fn nothing_given_is_the_defaults() {
    let effective = load(None, &[("PATH", "/bin")], &[]).unwrap();
    assert_eq!(effective.config, Config::default());
    assert!(config::keys().iter().all(|key| effective.source(key.name).to_string() == "default"));
}

#[test]
fn each_source_beats_the_one_below() {
    let folder = Folder::new("precedence");
    let file = folder.file("node.toml", "# first\n[rooms]\nmax = 2\n\ntick_ms = 20\n");
    let at = |env: &[(&str, &str)], flags: &[(&str, &str)]| {
        let effective = load(Some(&file), env, flags).unwrap();
        (effective.config.rooms.tick_ms, effective.source("rooms.tick_ms").to_string())
    };
    let env = [("GRANDSTAND_ROOMS_TICK_MS", "30")];
    let flags = [("rooms-tick-ms", "40")];
    assert_eq!(at(&[], &[]), (20, format!("file {}:5", file.display())));
    assert_eq!(at(&env, &[]), (30, "env GRANDSTAND_ROOMS_TICK_MS".into()));
    assert_eq!(at(&env, &flags), (40, "flag --rooms-tick-ms".into()));
    assert_eq!(at(&[], &flags).0, 40);
    assert_eq!(load(None, &env, &flags).unwrap().config.rooms.tick_ms, 40);
    assert_eq!(load(None, &env, &[]).unwrap().config.rooms.tick_ms, 30);
}

#[test]
fn the_environment_can_name_the_file_and_the_flag_counts_before_it() {
    let folder = Folder::new("named");
    let one = folder.file("one.toml", "[node]\nname = 'one'\n");
    let two = folder.file("two.toml", "[node]\nname = 'two'\n");
    let env = [("GRANDSTAND_CONFIG", one.to_str().unwrap())];
    assert_eq!(load(None, &env, &[]).unwrap().config.node.name, "one");
    assert_eq!(load(Some(&two), &env, &[]).unwrap().config.node.name, "two");
    assert_eq!(load(None, &[("GRANDSTAND_CONFIG", "")], &[]).unwrap().config, Config::default());
}

#[test]
fn a_file_that_cannot_be_read_says_who_named_it_and_what_to_do() {
    let folder = Folder::new("unreadable");
    let missing = folder.0.join("missing.toml");
    refused(load(Some(&missing), &[], &[]), &["missing.toml", "--config", "grandstand config --sample"]);
    let env = [("GRANDSTAND_CONFIG", missing.to_str().unwrap())];
    refused(load(None, &env, &[]), &["missing.toml", "GRANDSTAND_CONFIG", "grandstand config --sample"]);
    refused(load(Some(&folder.0), &[], &[]), &["cannot read", "readable TOML file"]);
    let binary = folder.file("binary.toml", [0xff, 0xfe, 0x00]);
    refused(load(Some(&binary), &[], &[]), &["binary.toml", "UTF-8"]);
}

#[test]
fn broken_toml_is_told_by_line_and_without_its_text() {
    refused(from_text("broken", "[ws]\nlisten = \n"), &["node.toml:2", "not valid TOML"]);
    refused(from_text("twice", "[rooms]\nmax = 1\nmax = 2\n"), &["node.toml:3", "not valid TOML"]);
    let told = faults(from_text("leak", "[auth]\nhs256_secret = \"hunter2hunter2hunter2hunter2hunter2\n"));
    assert!(!told[0].contains("hunter2"), "{told:?}");
}

#[test]
fn an_unknown_key_names_the_nearest_in_every_source() {
    let told = faults(from_text("unknown", "[ws]\nlisen = 'off'\n\n[limit]\npublish_per_s = 3\n[room]\n"));
    assert_eq!(told.len(), 3, "{told:#?}");
    for (told, words) in told.iter().zip([
        "node.toml:2: unknown key ws.lisen; the nearest key is ws.listen",
        "node.toml:5: unknown key limit.publish_per_s; the nearest key is limits.publish_per_s",
        "node.toml:6: unknown section [room]; the nearest is [rooms]",
    ]) {
        assert!(told.contains(words), "{words}: {told}");
    }

    refused(from_text("top", "tick_ms = 5\n"), &["unknown key tick_ms", "rooms.tick_ms"]);
    refused(from_text("section", "ws = 5\n"), &["`ws` is a section", "[ws]"]);
    refused(from_text("deep", "[ws.listen.port]\nx = 1\n"), &["ws.listen", "a table", "expected"]);
    refused(
        load(None, &[("GRANDSTAND_WS_LISTN", "off")], &[]),
        &["unknown environment variable GRANDSTAND_WS_LISTN", "GRANDSTAND_WS_LISTEN"],
    );
    refused(load(None, &[], &[("ws-listn", "off")]), &["unknown flag --ws-listn", "--ws-listen"]);
}

#[test]
fn what_kubernetes_sets_for_a_service_of_the_same_name_is_not_an_unknown_key() {
    let env = [
        ("GRANDSTAND_SERVICE_HOST", "10.0.0.1"),
        ("GRANDSTAND_SERVICE_PORT", "7400"),
        ("GRANDSTAND_SERVICE_PORT_WS", "7400"),
        ("GRANDSTAND_PORT", "tcp://10.0.0.1:7400"),
        ("GRANDSTAND_PORT_7443_UDP_ADDR", "10.0.0.1"),
        ("GRANDSTAND_ADMIN_PORT", "tcp://10.0.0.2:7480"),
    ];
    assert_eq!(load(None, &env, &[]).unwrap().config, Config::default());
    faults(load(None, &[("GRANDSTAND_PORT", "7400")], &[]));
}

#[test]
fn a_wrong_value_says_key_source_what_was_got_and_what_was_expected() {
    refused(
        load(None, &[], &[("rooms-tick-ms", "soon")]),
        &["rooms.tick_ms", "flag --rooms-tick-ms", "`soon`", "an integer from 0 to 10000"],
    );
    refused(
        load(None, &[("GRANDSTAND_LOG_LEVEL", "loud")], &[]),
        &["log.level", "env GRANDSTAND_LOG_LEVEL", "`loud`", "error, warn, info, debug, trace"],
    );
    for (text, key, given) in [
        ("[node]\n\npin = 3\n", "node.pin (file", "got 3, expected"),
        ("[rooms]\n\ntick_ms = 1.5\n", "rooms.tick_ms (file", "got a number with a fraction, expected"),
        ("[rooms]\n\nmax = -1\n", "rooms.max (file", "got -1, expected"),
        ("[rooms]\n\nmax = 99999999999999999999\n", "rooms.max (file", "got 99999999999999999999, expected"),
        ("[rooms]\n\non_first_use = [1]\n", "rooms.on_first_use (file", "got [1], expected"),
        ("[ws]\n\nlisten = 'localhost'\n", "ws.listen (file", "got the string \"localhost\", expected"),
        ("[ws]\n\npath = true\n", "ws.path (file", "got true, expected"),
        ("[auth]\n\nopen_may = ['fly']\n", "auth.open_may (file", "got [the string \"fly\"], expected"),
        (
            "[limits]\n\nframe_bytes_max = '9000'\n",
            "limits.frame_bytes_max (file",
            "got the string \"9000\", expected",
        ),
        ("[limits]\n\nheartbeat_ms = '5s'\n", "limits.heartbeat_ms (file", "got the string \"5s\", expected"),
    ] {
        refused(from_text("wrong", text), &[key, "node.toml:3)", given, ", expected "]);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let folder = Folder::new("at-once");
    let file = folder.file("node.toml", "[rooms]\ntick_ms = 20000\nmaxx = 1\n");
    let told = faults(load(Some(&file), &[("GRANDSTAND_NODE_PIN", "perhaps")], &[("ws-listen", "here")]));
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn bounds_of_every_number_hold_at_both_ends() {
    let mut numbers = 0;
    for key in config::keys() {
        let allowed = key.allowed();
        let Some(range) = allowed.strip_prefix("an integer from ") else { continue };
        let mut ends = range.split(',').next().unwrap().split(" to ").map(|end| end.parse::<u64>().unwrap());
        let (low, high) = (ends.next().unwrap(), ends.next().unwrap());
        let told = |value: u64| match load(None, &[], &[(key.name, &value.to_string())]) {
            Ok(_) => false,
            Err(error) => error.faults().iter().any(|fault| fault.contains(", expected ")),
        };
        assert!(!told(low) && !told(high), "{}: a bound itself is refused", key.name);
        assert!(told(high + 1), "{}: {} passes", key.name, high + 1);
        assert!(low == 0 || told(low - 1), "{}: {} passes", key.name, low.wrapping_sub(1));
        numbers += 1;
    }
    assert!(numbers > 40, "only {numbers} numbers found");
}

#[test]
fn every_form_of_a_value_is_understood() {
    let text = "[limits]\nframe_bytes_max = '64KiB'\nframes_per_s = 1_000\n[rooms]\nring_bytes_max = 0x100000\n\
                on_first_use = ['show-*', 'lobby']\nleading_edge = false\n[ws]\nlisten = 'off'\n[log]\nlevel = 'debug'\n";
    let config = from_text("forms", text).unwrap().config;
    assert_eq!((config.limits.frame_bytes_max, config.limits.frames_per_s), (65_536, 1_000));
    assert_eq!((config.rooms.ring_bytes_max, config.rooms.leading_edge), (1 << 20, false));
    assert_eq!(config.rooms.on_first_use, ["show-*", "lobby"]);
    assert_eq!((config.ws.listen, config.log.level), (None, LogLevel::Debug));

    let flags = [
        ("rooms-ring-bytes-max", "2MiB"),
        ("rooms-max", "1_000"),
        ("rooms-on-first-use", "a, b*"),
        ("auth-open-may", ""),
        ("auth-anonymous-may", "react"),
        ("node-pin", "on"),
        ("quic-listen", "[::1]:9000"),
    ];
    let config = load(None, &[], &flags).unwrap().config;
    assert_eq!((config.rooms.ring_bytes_max, config.rooms.max), (2 << 20, 1_000));
    assert_eq!(config.rooms.on_first_use, ["a", "b*"]);
    assert_eq!((config.auth.open_may, config.auth.anonymous_may), (vec![], vec![Right::React]));
    assert_eq!(config.quic.listen, Some("[::1]:9000".parse::<SocketAddr>().unwrap()));
    assert!(config.node.pin);
}

#[test]
fn values_that_contradict_each_other_are_told_apart() {
    let key = "0123456789abcdef0123456789abcdef";
    refused(
        load(None, &[], &[("admin-listen", "0.0.0.0:7480")]),
        &["admin.listen", "0.0.0.0:7480", "admin.key_file"],
    );
    load(None, &[("GRANDSTAND_ADMIN_KEY", key)], &[("admin-listen", "0.0.0.0:7480")]).unwrap();
    refused(load(None, &[], &[("tls-cert", "a.pem")]), &["tls.cert", "needs tls.key"]);
    refused(load(None, &[], &[("tls-key", "a.pem")]), &["tls.key", "needs tls.cert"]);
    refused(load(None, &[], &[("auth-anonymous", "false")]), &["auth.anonymous", "nobody"]);
    refused(load(None, &[], &[("wss-listen", "127.0.0.1:7400")]), &["ws.listen", "wss.listen", "same"]);
    load(None, &[], &[("ws-listen", "127.0.0.1:0"), ("wss-listen", "127.0.0.1:0")]).unwrap();
    refused(
        load(None, &[], &[("ws-listen", "off"), ("wss-listen", "off"), ("quic-listen", "off")]),
        &["all off"],
    );
    refused(
        load(
            None,
            &[],
            &[
                ("limits-text-bytes-max", "4000"),
                ("limits-frame-bytes-max", "1024"),
                ("rooms-state-value-bytes-max", "512"),
            ],
        ),
        &["limits.text_bytes_max = 4000 (flag", "limits.frame_bytes_max = 1024 (flag"],
    );
    refused(
        load(None, &[], &[("quic-keep-alive-ms", "70000")]),
        &["quic.keep_alive_ms", "quic.idle_timeout_ms"],
    );
    for (flag, value) in [
        ("rooms-durability", "disk"),
        ("log-recorder-dir", "/dev/shm"),
        ("log-backup-every-hours", "24"),
        ("log-backup-dir", "/backups"),
    ] {
        refused(load(None, &[], &[(flag, value)]), &[value, "needs log.dir"]);
        load(None, &[], &[(flag, value), ("log-dir", "/data")]).unwrap();
    }
    refused(load(None, &[], &[("ws-path", "v1")]), &["ws.path", "begin with /"]);
    refused(load(None, &[], &[("rooms-on-first-use", "a*b")]), &["rooms.on_first_use"]);
    refused(load(None, &[], &[("rooms-on-first-use", "a**")]), &["rooms.on_first_use"]);
    refused(
        load(None, &[], &[("ws-origins", "https://example.org/")]),
        &["ws.origins", "`https://example.org/`", "path"],
    );
    // Each rule of a list that can match nothing is named, with why.
    for (flag, value, words) in [
        ("ws-origins", "https://good.example,https://*example.org", "subdomain"),
        ("ws-origins", "*.example.org", "scheme"),
        ("ws-origins", "wss://example.org", "https://"),
        ("admin-hosts", "http://admin.example.org", "without scheme"),
        ("admin-hosts", "admin.example.org:7480", "without scheme"),
        ("admin-hosts", "*.example.org", "without scheme"),
        ("rooms-on-first-use", "show-1,a\u{0}*", "no room"),
        ("ws-path", "/a b", "as a URL has it"),
        ("ws-path", "/v1?x", "as a URL has it"),
        ("ws-path", "/readyz", "probes"),
        ("proxy-trusted", "10.0.0.1/8", "without bits behind the prefix"),
        ("proxy-trusted", "0.0.0.0/0", "none that holds every address"),
        ("proxy-trusted", "proxy.example.org", "a list of addresses"),
        ("proxy-trusted", "10.0.0.0/8", "has no effect alone"),
        ("proxy-forwarded", "true", "needs proxy.trusted"),
        ("proxy-x-forwarded-for", "true", "needs proxy.trusted"),
        ("proxy-protocol", "true", "needs proxy.trusted"),
    ] {
        refused(load(None, &[], &[(flag, value)]), &[words]);
    }
    let both = [("proxy-trusted", "::1"), ("proxy-forwarded", "on"), ("proxy-x-forwarded-for", "on")];
    refused(load(None, &[], &both), &["switch on the one that your proxies set"]);
    let good = [
        ("admin-hosts", "admin.example.org,192.0.2.1,::1"),
        ("ws-origins", "https://*.example.org,null,http://localhost:*"),
        ("proxy-trusted", "10.0.0.0/8,2001:db8::/32,::1,::ffff:192.0.2.1"),
        ("proxy-protocol", "on"),
    ];
    load(None, &[], &good).unwrap();
    let both = [("auth-hs256-secret", key), ("auth-eddsa-public-key-file", "k.pem")];
    refused(load(None, &[], &both), &["give one of them"]);
}

#[test]
fn secrets_are_never_shown() {
    let secret = "correct-horse-battery-staple-0123456789";
    let effective = load(None, &[("GRANDSTAND_AUTH_HS256_SECRET", secret)], &[]).unwrap();
    let mut json = Vec::new();
    effective.print_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["auth.hs256_secret"]["value"], "(set)");
    assert_eq!(json["auth.hs256_secret"]["source"], "env GRANDSTAND_AUTH_HS256_SECRET");
    let text = printed(&effective);
    assert!(text.contains("# hs256_secret = (set)"), "{text}");
    for shown in [text, json.to_string(), format!("{effective:?}")] {
        assert!(!shown.contains("horse"), "{shown}");
    }
    let short = faults(load(None, &[], &[("auth-hs256-secret", "horse")]));
    assert!(short[0].contains("32 to 4096 bytes") && !short[0].contains("horse"), "{short:?}");
    let list = faults(from_text("secret-list", "[admin]\nkey = ['horse']\n"));
    assert!(!list[0].contains("horse"), "{list:?}");
}

#[test]
fn secrets_come_from_files_without_their_line_end() {
    let folder = Folder::new("secrets");
    let good = folder.file("good", "0123456789abcdef0123456789abcdef\n");
    let short = folder.file("short", "0123456789\n");
    let config = |path: &Path| {
        let path = path.to_str().unwrap();
        load(None, &[], &[("auth-hs256-secret-file", path), ("admin-key-file", path)]).unwrap().config
    };
    let secret = config(&good).hs256_secret().unwrap().unwrap();
    assert_eq!(secret.expose(), b"0123456789abcdef0123456789abcdef");
    assert!(config(&good).admin_key().unwrap().is_some() && config(&good).auth.has_key());
    assert!(config(&short).hs256_secret().unwrap_err().to_string().contains("at least 32"));
    assert!(config(&short).admin_key().unwrap_err().to_string().contains("at least 16"));
    assert!(
        config(&folder.0.join("none")).hs256_secret().unwrap_err().to_string().contains("cannot be read")
    );
    assert_eq!(Config::default().hs256_secret().unwrap(), None);
}

#[test]
fn the_sample_parses_back_to_the_defaults_as_it_is_and_uncommented() {
    let sample = config::sample();
    assert_eq!(from_text("sample", &sample).unwrap().config, Config::default());
    let active: String = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let effective = from_text("active", &active).unwrap();
    assert_eq!(effective.config, Config::default());
    for key in config::keys() {
        let source = effective.source(key.name).to_string();
        assert!(source.starts_with("file "), "{} is not in the sample: {source}", key.name);
    }
}

#[test]
fn what_is_printed_is_a_file_that_gives_the_same_again() {
    let flags = [
        ("node-name", "a \"quoted\" \\ name\n\u{7f}"),
        ("ws-origins", "https://a.example,https://b.example"),
        ("rooms-tick-ms", "7"),
        ("quic-listen", "off"),
    ];
    let first = load(None, &[], &flags).unwrap();
    let text = printed(&first);
    assert!(text.contains("tick_ms = 7") && text.contains("# flag --rooms-tick-ms"), "{text}");
    assert_eq!(from_text("printed", &text).unwrap().config, first.config);
}

#[test]
fn every_key_is_in_help_and_sample_with_its_default() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = words(&config_command::command().render_long_help().to_string());
    let sample = words(&config::sample().replace("\n#", "\n"));
    for key in config::keys() {
        let flag = format!("--{} ", key.flag);
        assert!(help.contains(&flag) && sample.contains(&format!("--{},", key.flag)), "{}", key.flag);
        for text in [key.env, &words(key.doc), &words(key.why), &words(&key.allowed())] {
            assert!(help.contains(text), "{}: help lacks {text:?}", key.name);
            assert!(sample.contains(text), "{}: sample lacks {text:?}", key.name);
        }
        assert!(help.contains(&format!("[file: {}]", key.name)), "{}", key.name);
        assert!(!sample_line(key).ends_with("= "), "{}", key.name);
    }
}

#[test]
fn names_are_unique_and_texts_are_sentences() {
    let keys = config::keys();
    for (i, key) in keys.iter().enumerate() {
        let clash = keys[..i].iter().find(|other| other.flag == key.flag || other.env == key.env);
        assert!(clash.is_none(), "{} and {}", key.name, clash.unwrap().name);
        assert!(key.doc.ends_with('.') && !key.why.ends_with('.'), "{}", key.name);
        assert!(key.env.starts_with("GRANDSTAND_") && key.env != config::FILE_ENV, "{}", key.name);
        assert_eq!(key.name, format!("{}.{}", key.section, key.field));
    }
}

#[test]
fn flags_of_the_command_line_reach_the_configuration() {
    let parse = |args: &[&str]| config_command::flags(clap::Command::new("serve")).try_get_matches_from(args);
    let secret = "-starts-with-a-dash-and-is-long-enough";
    let matches = parse(&[
        "serve",
        "--ws-listen=off",
        "--node-pin",
        "--rooms-on-first-use",
        "a",
        "--rooms-on-first-use",
        "b,c",
        "--ws-origins",
        "",
        "--rooms-max",
        "-1",
        "--auth-hs256-secret",
        secret,
    ])
    .unwrap();
    let given = config_command::given(&matches);
    let expected = [
        ("node.pin", "true"),
        ("ws.listen", "off"),
        ("ws.origins", ""),
        ("auth.hs256_secret", secret),
        ("rooms.on_first_use", "a,b,c"),
        ("rooms.max", "-1"),
    ];
    assert_eq!(given, pairs(&expected));
    refused(config::load(None, [], given), &["rooms.max", "got -1,", "from 1"]);
    let unknown = parse(&["serve", "--ws-listn", "off"]).unwrap_err().to_string();
    assert!(unknown.contains("--ws-listen"), "{unknown}");
    config_command::command().debug_assert();
}

#[test]
fn the_config_command_prints() {
    let run = |args: &[&str]| {
        let mut out = Vec::new();
        let matches = config_command::command().try_get_matches_from(args).unwrap();
        config_command::run(&matches, &mut out)
            .map(|written| written.map(|()| String::from_utf8(out).unwrap()).unwrap())
    };
    assert_eq!(run(&["config", "--sample"]).unwrap(), config::sample());
    let json = run(&["config", "--json", "--rooms-tick-ms", "9"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rooms.tick_ms"]["value"], 9);
    assert_eq!(json.as_object().unwrap().len(), config::keys().len());
    assert!(run(&["config", "--node-pin"]).unwrap().contains("# flag --node-pin"));
    assert!(run(&["config", "--config", "does-not-exist.toml"]).is_err());
}

#[test]
fn derived_rules_follow_the_values() {
    let mut config = Config::default();
    assert_eq!(config.limits.silence_ms(), 62_500);
    assert!(config.node.workers_or_cpus() >= 1);
    config.node.workers = 3;
    assert_eq!(config.node.workers_or_cpus(), 3);

    assert!(config.rooms.may_begin("anything"));
    config.rooms.on_first_use = vec!["show-*".into(), "lobby".into()];
    assert!(config.rooms.may_begin("show-1") && config.rooms.may_begin("lobby"));
    assert!(!config.rooms.may_begin("lobby2") && !config.rooms.may_begin("a-show-1"));
    config.rooms.on_first_use.clear();
    assert!(!config.rooms.may_begin("lobby"));

    assert!(!config.rooms_on_disk());
    config.log.dir = Some("/data".into());
    assert!(config.rooms_on_disk());
    config.rooms.durability = RoomDurability::Memory;
    assert!(!config.rooms_on_disk());
    config.rooms.durability = RoomDurability::Disk;
    assert!(config.rooms_on_disk());

    assert!(config.ws.allows_origin(Some("https://any.example")));
    config.ws.origins = vec!["https://a.example".into()];
    assert!(config.ws.allows_origin(Some("https://A.example")) && config.ws.allows_origin(None));
    assert!(!config.ws.allows_origin(Some("https://a.example.evil")));
}

/// A directory of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("grandstand-config-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn load(file: Option<&Path>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Effective, ConfigError> {
    config::load(file, pairs(env), pairs(flags))
}

fn from_text(test: &str, text: &str) -> Result<Effective, ConfigError> {
    let folder = Folder::new(test);
    let path = folder.file("node.toml", text);
    load(Some(&path), &[], &[])
}

/// The faults of something that must not load.
#[track_caller]
fn faults(result: Result<Effective, ConfigError>) -> Vec<String> {
    result.expect_err("must be refused").faults().to_vec()
}

/// The only fault, which must contain all these words.
#[track_caller]
fn refused(result: Result<Effective, ConfigError>, words: &[&str]) {
    let faults = faults(result);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for word in words {
        assert!(faults[0].contains(word), "{word:?} is missing in: {}", faults[0]);
    }
}

fn printed(effective: &Effective) -> String {
    let mut out = Vec::new();
    effective.print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn sample_line(key: &Key) -> String {
    let sample = config::sample();
    let after = sample.split(&format!("\n[{}]\n", key.section)).nth(1).expect("the section is in the sample");
    let section = after.split("\n[").next().unwrap_or(after);
    let start = format!("#{} = ", key.field);
    section
        .lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("{} not in sample", key.name))
        .into()
}

/// On a terminal of 24 lines, one of which is the prompt's.
#[test]
fn the_short_help_of_serve_fits_a_screen_and_points_to_the_rest() {
    let help = config_command::short_help();
    assert!(help.lines().count() <= 23, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    for there in ["grandstand serve --help", "grandstand config --sample", "--log-dir PATH", "--config PATH"]
    {
        assert!(help.contains(there), "no {there} in\n{help}");
    }
    let parse = |args: &[&str]| config_command::serve().try_get_matches_from(args);
    assert!(config_command::wants_short_help(&parse(&["serve", "-h"]).unwrap()));
    assert!(!config_command::wants_short_help(&parse(&["serve"]).unwrap()));
    let long = parse(&["serve", "--help"]).unwrap_err().to_string();
    assert!(config::keys().iter().all(|key| long.contains(&format!("--{}", key.flag))), "{long}");
    config_command::serve().debug_assert();
}
