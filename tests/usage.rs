//! Wrong usage and wrong settings: exit status 2, one line that names what is wrong, and nothing begun.
#![expect(clippy::expect_used, reason = "a test fails by them")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metriqlab"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

#[track_caller]
fn one_line(output: &Output, status: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "standard output is not empty");
    text
}

/// For every setting of the system a value that can't be used.
const WRONG: [(&str, &str); 28] = [
    ("DATABASE_URL", "mysql://user:hunter2@host/db"),
    ("REDIS_URL", "http://:hunter2@host"),
    ("REDIS_URL", "rediss+unix:///hunter2"),
    ("METRIQLAB_BIND", "8080"),
    ("METRIQLAB_PUBLIC_URL", "ftp://host"),
    ("METRIQLAB_ENCRYPTION_KEY", "aHVudGVyMg=="),
    ("METRIQLAB_SYNC_WAIT", "2m"),
    ("METRIQLAB_API_RATE", "many"),
    ("METRIQLAB_CORS_ORIGINS", "*"),
    ("METRIQLAB_TRUSTED_PROXIES", "proxy"),
    ("METRIQLAB_REDIS_PREFIX", "a{b}"),
    ("METRIQLAB_SHUTDOWN_GRACE", "soon"),
    ("METRIQLAB_WORKER_CONCURRENCY", "0"),
    ("METRIQLAB_METRICS_BIND", "on"),
    ("METRIQLAB_WORKER_DEAF_AFTER", "5s"),
    ("METRIQLAB_RESYNC_EVERY", "daily"),
    ("METRIQLAB_RESYNC_RECENT", "off"),
    ("METRIQLAB_RESYNC_DEEP", "7"),
    ("METRIQLAB_HISTORY_KEEP", "29days"),
    ("METRIQLAB_LOG_FORMAT", "xml"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("RUST_LOG", "a=b=c"),
    ("TIKTOK_PKCE", "yes"),
    ("TIKTOK_SCOPES", "a b"),
    ("TIKTOK_AUTH_URL", "tiktok"),
    ("TIKTOK_API_URL", "https://user:hunter2@tiktok"),
    ("TIKTOK_RATE_PER_MINUTE", "-5"),
    ("TIKTOK_RATE_WINDOW", "0s"),
];

/// The same for the stand-in.
const WRONG_SANDBOX: [(&str, &str); 11] = [
    ("METRIQLAB_SANDBOX_BIND", "8090"),
    ("METRIQLAB_SANDBOX_PUBLIC_URL", "sandbox:8090"),
    ("METRIQLAB_SANDBOX_REDIRECT_URIS", "http://app.example.com/"),
    ("METRIQLAB_SANDBOX_APP", "phone"),
    ("METRIQLAB_SANDBOX_SEED", "x"),
    ("METRIQLAB_SANDBOX_CREATORS", "-1"),
    ("METRIQLAB_SANDBOX_LATENCY", "some"),
    ("METRIQLAB_SANDBOX_WEBHOOK_URL", "nowhere"),
    ("METRIQLAB_SANDBOX_CONTROL", "maybe"),
    ("TIKTOK_RATE_PER_MINUTE", "many"),
    ("TIKTOK_RATE_WINDOW", "soon"),
];

/// What TikTok's portal gives may be any text.
const ANY_TEXT: [&str; 2] = ["TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET"];

/// What a process of the system can't do without, each with a value that is well-formed and leads nowhere.
const REQUIRED: [(&str, &str); 5] = [
    ("DATABASE_URL", "postgres://nobody:hunter2@127.0.0.1:1/none"),
    ("REDIS_URL", "redis://:hunter2@127.0.0.1:1"),
    ("METRIQLAB_ENCRYPTION_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ("TIKTOK_CLIENT_KEY", "key"),
    ("TIKTOK_CLIENT_SECRET", "hunter2"),
];

/// The environment variables that a command's help lists.
fn variables(folder: &Path, command: &[&str]) -> BTreeSet<String> {
    let output = program(folder).args(command).arg("--help").output().expect("run it");
    let text = String::from_utf8(output.stdout).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
    let name = |rest: &str| rest.split(['=', ']']).next().unwrap_or_default().to_owned();
    let found: BTreeSet<String> = text.split("[env: ").skip(1).map(name).collect();
    assert!(found.contains("RUST_LOG"), "{command:?} has settings: {text}");
    found
}

#[test]
fn a_wrong_setting_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for process in ["up", "api", "worker"] {
        let known = variables(folder.path(), &[process]);
        for (variable, value) in WRONG.into_iter().filter(|(variable, _)| known.contains(*variable)) {
            let mut command = program(folder.path());
            if process != "up" {
                command.envs(REQUIRED);
            }
            let text = one_line(&command.arg(process).env(variable, value).output().expect("run it"), 2);
            assert!(text.contains(variable), "{process} {variable}: {text}");
            assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        }
    }
    // TikTok takes no such redirect URI of a web app, and its stand-in takes none either.
    let elsewhere = [("METRIQLAB_PUBLIC_URL", "http://metriqlab.example:8080")];
    let text = one_line(&program(folder.path()).arg("up").envs(elsewhere).output().expect("run it"), 2);
    assert!(text.contains("METRIQLAB_PUBLIC_URL") && text.contains("http://localhost:"), "{text}");
    // Half an app is none, and no sandbox either.
    for (given, missing) in [(ANY_TEXT[0], ANY_TEXT[1]), (ANY_TEXT[1], ANY_TEXT[0])] {
        let text = one_line(&program(folder.path()).arg("up").env(given, "hunter2").output().expect("run it"), 2);
        assert!(text.contains(&format!("{missing} is not set")) && !text.contains("hunter2"), "{text}");
    }
    assert!(!folder.path().join(".metriqlab").exists(), "a start that is refused leaves nothing behind");
}

#[test]
fn no_setting_is_left_out_of_these_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut known: BTreeSet<String> = BTreeSet::new();
    for command in ["up", "api", "worker", "sandbox", "migrate", "resync", "doctor", "rotate-encryption", "status"] {
        known.extend(variables(folder.path(), &[command]));
    }
    for command in [["keys", "create"], ["users", "create"], ["jobs", "list"], ["queue", "pause"]] {
        known.extend(variables(folder.path(), &command));
    }
    let tried = WRONG.iter().chain(&WRONG_SANDBOX).map(|(variable, _)| *variable).chain(ANY_TEXT);
    assert_eq!(known, tried.map(str::to_owned).collect());
}

#[test]
fn what_is_required_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = REQUIRED.map(|(variable, _)| variable);
    for (arguments, required) in [
        (&["api"][..], &all[..]),
        (&["worker"], &all),
        (&["rotate-encryption"], &["DATABASE_URL", "METRIQLAB_ENCRYPTION_KEY"]),
        (&["status"], &["DATABASE_URL", "REDIS_URL"]),
        (&["queue", "pause", "bulk"], &["DATABASE_URL", "REDIS_URL"]),
        (&["migrate"], &["DATABASE_URL"]),
        (&["resync", "--all"], &["DATABASE_URL"]),
        (&["jobs", "list"], &["DATABASE_URL"]),
        (&["keys", "list"], &["DATABASE_URL"]),
        (&["keys", "create", "--project", "a"], &["DATABASE_URL"]),
        (&["users", "create", "ada@example.com"], &["DATABASE_URL"]),
    ] {
        for variable in required {
            let mut command = program(folder.path());
            command.args(arguments).envs(REQUIRED).env_remove(variable);
            let absent = one_line(&command.output().expect("run it"), 2);
            assert!(absent.starts_with(&format!("metriqlab: {variable} is not set: ")), "{arguments:?}: {absent}");
            assert!(!absent.contains("hunter2"), "{absent}");
            // An empty variable is an absent one.
            assert_eq!(one_line(&command.env(variable, "").output().expect("run it"), 2), absent);
        }
    }
}

#[test]
fn a_wrong_command_line_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, help) in [
        (&["upp"][..], "metriqlab --help"),
        (&["up", "--nonsense"], "metriqlab up --help"),
        (&["keys"], "metriqlab keys --help"),
        (&["keys", "create"], "metriqlab keys create --help"),
        (&["up", "x"], "metriqlab up --help"),
        (&["users", "create"], "metriqlab users create --help"),
        (&["users", "create", "a@b", "--project", " "], "all of them visible"),
        (&["users", "create", "a@b", "--operator", "--no-operator"], "metriqlab users create --help"),
        (&["users", "create", "nobody"], "EMAIL: give an email address"),
        (&["jobs", "list", "--limit", "0"], "1 or more; see metriqlab jobs list --help"),
        // The setting's own check knows better than the help.
        (&["sandbox", "--seed", "x"], "18446744073709551615"),
    ] {
        let output = program(folder.path()).args(arguments).output().expect("run it");
        let text = one_line(&output, 2);
        assert!(text.starts_with("metriqlab: ") && text.trim_end().ends_with(help), "{text}");
    }
    let output = program(folder.path()).arg("keys").output().expect("run it");
    let text = one_line(&output, 2);
    assert!(text.contains("not complete: metriqlab keys ") && text.contains("<COMMAND>"), "{text}");
}

#[test]
fn the_sandboxs_settings_are_checked_and_named_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for (variable, value) in WRONG_SANDBOX {
        let mut command = program(folder.path());
        // An empty variable is an absent one: only the wrong one is complained of.
        command.arg("sandbox").envs(WRONG_SANDBOX.map(|(other, _)| (other, ""))).env("TIKTOK_CLIENT_SECRET", "");
        if variable != "METRIQLAB_SANDBOX_BIND" {
            command.env("METRIQLAB_SANDBOX_BIND", "127.0.0.1:0");
        }
        let text = one_line(&command.env(variable, value).output().expect("run it"), 2);
        assert!(text.contains(&format!("{variable}: ")), "{variable}: {text}");
    }
}

#[test]
fn a_start_that_is_refused_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = taken.local_addr().expect("an address").to_string();
    let output = program(folder.path()).arg("up").env("METRIQLAB_BIND", &address).output().expect("run it");
    let text = one_line(&output, 1);
    assert!(text.contains("METRIQLAB_BIND") && text.contains(&address), "{text}");
    assert!(!folder.path().join(".metriqlab").exists());
}

#[test]
fn an_api_has_a_port_that_tiktok_can_send_browsers_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path());
    let output = command.arg("api").env("METRIQLAB_BIND", "127.0.0.1:0").output().expect("run it");
    let text = one_line(&output, 2);
    assert!(text.contains("METRIQLAB_BIND: ") && text.contains("METRIQLAB_PUBLIC_URL"), "{text}");
}

#[test]
fn a_key_is_revoked_by_enough_of_it_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for short in ["", " ", "mlk_", "mlk_1234567"] {
        let mut command = program(folder.path());
        let command = command.args(["keys", "revoke", short]).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        let text = one_line(&command.output().expect("run it"), 2);
        assert!(text.contains("first 12 characters"), "{text}");
    }
}

#[test]
fn a_key_is_not_made_with_limits_that_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    for (option, value, named) in [
        ("--scopes", "read,admin", "read,connect,sync,disconnect"),
        ("--scopes", "", "read,connect,sync,disconnect"),
        ("--expires", "soon", "90d"),
        ("--expires", "0s", "90d"),
        ("--expires", "2020-01-01T00:00:00Z", "90d"),
        ("--expires", "100000y", "90d"),
    ] {
        let mut command = program(folder.path());
        let command = command.args(["keys", "create", "--project", "a", option, value]);
        let command = command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        let text = one_line(&command.output().expect("run it"), 2);
        assert!(text.contains(&format!("{option}: ")) && text.contains(named), "{text}");
    }
}

#[test]
fn a_value_that_is_no_text_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path());
    let output = command.arg("up").env("METRIQLAB_BIND", OsStr::from_bytes(b"\xff\xfe")).output().expect("run it");
    assert!(one_line(&output, 2).contains("METRIQLAB_BIND"));
}

#[test]
fn an_env_file_is_read_and_the_environment_goes_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "DATABASE_URL=mysql://from-the-file\n").expect("write it");
    let text = one_line(&program(folder.path()).arg("migrate").output().expect("run it"), 2);
    assert!(text.contains("DATABASE_URL: "), "{text}");
    let output = program(folder.path()).arg("migrate").env("DATABASE_URL", "").output().expect("run it");
    assert!(one_line(&output, 2).contains("DATABASE_URL is not set"));
}

#[test]
fn a_malformed_env_file_is_said_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "A=b\nTIKTOK_CLIENT_SECRET hunter2\n").expect("write it");
    let text = one_line(&program(folder.path()).arg("up").output().expect("run it"), 2);
    assert!(text.contains(".env") && text.contains("line 2") && !text.contains("hunter2"), "{text}");
    std::fs::remove_file(folder.path().join(".env")).expect("remove it");
    std::fs::create_dir(folder.path().join(".env")).expect("make a folder of that name");
    assert!(one_line(&program(folder.path()).arg("up").output().expect("run it"), 2).contains(".env"));
}

#[test]
fn help_shows_every_option_with_its_variable_and_default_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path());
    let output = command.args(["up", "--help"]).env("TIKTOK_CLIENT_SECRET", "hunter2").output().expect("run it");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in [
        "[env: DATABASE_URL]",
        "[env: METRIQLAB_BIND=]",
        "[default: 127.0.0.1:8080]",
        "[env: METRIQLAB_SYNC_WAIT=] [default: 25s]",
        "[env: TIKTOK_CLIENT_SECRET]",
        "[env: TIKTOK_RATE_PER_MINUTE=] [default: 600]",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in: {text}");
    }
    assert!(!text.contains("hunter2"));
    for arguments in [&["--help"][..], &["--version"], &["keys", "create", "--help"]] {
        assert!(program(folder.path()).args(arguments).output().expect("run it").status.success());
    }
}

#[test]
fn in_a_folder_of_up_its_servers_stand_for_what_is_not_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = [
        ("postgres/url", "postgres://nobody@127.0.0.1:1/kept"),
        ("redis/url", "redis://127.0.0.1:1"),
        ("encryption-key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ];
    for (name, text) in kept {
        let path = folder.path().join(".metriqlab").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
        std::fs::write(path, text).expect("write it");
    }
    for arguments in [
        &["status"][..],
        &["jobs", "list"],
        &["queue", "pause", "bulk"],
        &["resync", "--all"],
        &["rotate-encryption"],
        &["keys", "list"],
        &["users", "create", "ada@example.com"],
        &["migrate"],
    ] {
        let mut command = program(folder.path());
        // An empty variable is an absent one. The kept server is away, and that alone is wrong.
        let text = one_line(&command.args(arguments).env("DATABASE_URL", "").output().expect("run it"), 1);
        assert!(!text.contains("not set"), "{arguments:?}: {text}");
        let output = command.env("DATABASE_URL", "mysql://host/set").output().expect("run it");
        assert!(one_line(&output, 2).contains("DATABASE_URL: "), "what is set goes first");
    }
    for process in ["api", "worker"] {
        let text = one_line(&program(folder.path()).arg(process).output().expect("run it"), 2);
        assert!(text.contains("not set"), "{text}");
    }
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    Stdio::from(writer)
}

#[test]
fn nobody_has_to_read_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let unreachable = "postgres://nobody@127.0.0.1:1/none";
    for (arguments, status) in [
        (&["jobs", "show", "x"][..], 2),
        (&["keys", "list", "--database-url", unreachable], 1),
        (&["doctor", "--database-url", unreachable, "--redis-url", "redis://127.0.0.1:1"], 2),
    ] {
        let output = program(folder.path()).args(arguments).stderr(closed()).output().expect("run it");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}, standard error closed");
    }
    for arguments in [&["--help"][..], &["status", "--help"], &["doctor"]] {
        let output = program(folder.path()).args(arguments).stdout(closed()).output().expect("run it");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{arguments:?}, standard output closed: {output:?}"
        );
    }
}
