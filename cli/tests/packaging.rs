//! What ships beside the binary: the systemd unit, and the image.

mod support;

#[cfg(target_os = "linux")]
mod systemd {
    use std::process::Command;
    use std::time::Duration;

    use tokio::net::UnixDatagram;

    use super::support::{Cli, Follower};

    const UNIT: &str = include_str!("../../packaging/everstream.service");

    /// The unit with the binary of this build.
    fn installed(directory: &std::path::Path) -> std::path::PathBuf {
        let unit = directory.join("everstream.service");
        let text = UNIT.replace("/usr/bin/everstream", env!("CARGO_BIN_EXE_everstream"));
        assert_ne!(text, UNIT);
        std::fs::write(&unit, text).expect("it is written");
        unit
    }

    fn analyze(arguments: &[&str], unit: &std::path::Path) -> Option<(bool, String)> {
        let output = Command::new("systemd-analyze").args(arguments).arg(unit).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    #[test]
    fn the_unit_is_sound_and_may_do_little() {
        let directory = tempfile::tempdir().expect("a directory");
        let unit = installed(directory.path());
        let Some((is_sound, said)) = analyze(&["verify", "--man=no"], &unit) else {
            eprintln!("skipped: there is no systemd-analyze here");
            return;
        };
        // It also complains about units of this machine that are none of ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("everstream")).collect();
        assert!(is_sound && ours.is_empty(), "{said}");
        // 0 may do nothing, 100 everything; an ordinary service has 95.
        let security = ["security", "--offline=true", "--threshold=20", "--no-pager"];
        if let Some((is_tight, said)) = analyze(&security, &unit) {
            assert!(is_tight || said.contains("unrecognized option"), "{said}");
        }
    }

    #[tokio::test]
    async fn the_server_says_when_it_is_ready_and_when_it_stops() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let mut command = Cli::new("").command(&["serve", "--port", "0", "--storage", "memory"]);
        command.env("NOTIFY_SOCKET", &path);
        let mut server = Follower::new(command);
        let said = async || {
            let mut text = [0; 512];
            let received = tokio::time::timeout(Duration::from_secs(60), socket.recv(&mut text)).await;
            let length = received.expect("it does not hang").expect("it says something");
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        let ready = said().await;
        assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
        assert!(server.line().await.is_some_and(|line| line.starts_with("Listening on ")));
        server.signal("TERM").await;
        let stopping = said().await;
        assert!(stopping.lines().any(|line| line == "STOPPING=1"), "{stopping}");
        assert_eq!(server.finish().await.1.code, 0);
    }
}

mod image {
    const DOCKERFILE: &str = include_str!("../../packaging/Dockerfile");

    /// Instructions with their arguments, continued lines joined.
    fn instructions() -> Vec<(String, String)> {
        let lines = DOCKERFILE.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        let joined = lines.replace("\\\n", " ");
        let parts = joined.lines().filter_map(|line| line.split_once(' '));
        parts.map(|(name, arguments)| (name.to_owned(), arguments.trim().to_owned())).collect()
    }

    fn last_stage() -> Vec<(String, String)> {
        let all = instructions();
        let from = all.iter().rposition(|(name, _)| name == "FROM").expect("a stage");
        all[from..].to_vec()
    }

    #[test]
    fn the_image_has_the_binary_alone_and_a_user_without_rights() {
        let stage = last_stage();
        let of = |wanted: &str| {
            stage.iter().filter(|(name, _)| name == wanted).map(|(_, it)| it.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of("FROM"), ["scratch"]);
        let user = of("USER")[0];
        let (uid, gid) = user.split_once(':').expect("numbers, since there is no /etc/passwd");
        assert!(uid.parse::<u32>().is_ok_and(|id| id > 0) && gid.parse::<u32>().is_ok_and(|id| id > 0), "{user}");
        assert!(of("RUN").is_empty(), "there is no shell");
        for exec_form in [of("ENTRYPOINT")[0], of("CMD")[0], of("VOLUME")[0]] {
            let parsed: Vec<String> =
                serde_json::from_str(exec_form).expect("a list: there is no shell to split words");
            assert!(!parsed.is_empty());
        }
    }

    #[test]
    fn every_image_has_a_version_and_nothing_is_fetched_by_add() {
        for (name, arguments) in instructions() {
            assert_ne!(name, "ADD");
            if name == "FROM" && arguments != "scratch" {
                let image = arguments.split(' ').next().unwrap_or_default();
                let version = image.split_once(':').map(|(_, version)| version);
                assert!(version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())), "{image}");
            }
        }
    }

    #[test]
    fn the_build_uses_the_oldest_rust_that_is_promised() {
        let manifest = include_str!("../../Cargo.toml");
        let promised = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
        assert!(DOCKERFILE.contains(&format!("FROM rust:{}-alpine", promised.trim_matches('"'))));
    }

    /// The settings of the image are settings that there are, and a server with them does not start wide open.
    #[tokio::test]
    async fn with_the_settings_of_the_image_a_server_without_rules_does_not_start() {
        let stage = last_stage();
        let settings = stage.iter().find(|(name, _)| name == "ENV").map(|(_, it)| it.clone()).expect("settings");
        let cli = super::support::Cli::new("");
        let check = |auth: &[&str]| {
            let mut command = cli.command(&[&["serve", "--check-config"], auth].concat());
            command.envs(settings.split(' ').filter_map(|setting| setting.split_once('=')));
            super::support::finish(command.spawn().expect("the binary runs"))
        };
        let refused = check(&[]).await.fails();
        assert!(refused.contains("--auth off"), "{refused}");
        check(&["--auth", "off"]).await.ok();
    }
}
