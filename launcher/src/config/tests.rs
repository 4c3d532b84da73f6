use std::collections::BTreeSet;
use std::time::Duration;

use super::model::Roles;
use super::*;

const ANNOTATED: &str = include_str!("../../../cluster.toml");

fn load_with(text: &str, defines: &[&str], variables: &[(&str, &str)]) -> Result<Inventory, ConfigError> {
    let request = Request {
        defines: defines.iter().map(|&define| define.to_owned()).collect(),
        variables: variables
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Request::default()
    };
    Inventory::parse(Path::new("cluster.toml"), text.to_owned(), &request)
}

fn load(text: &str) -> Cluster {
    match load_with(text, &[], &[]) {
        Ok(inventory) => inventory.cluster,
        Err(error) => panic!("{}", UserError::from(error).render_plain()),
    }
}

fn errors_with(text: &str, defines: &[&str], variables: &[(&str, &str)]) -> String {
    match load_with(text, defines, variables) {
        Ok(inventory) => panic!("accepted: {:?}", inventory.cluster),
        Err(error) => UserError::from(error).render_plain(),
    }
}

fn errors(text: &str) -> String {
    errors_with(text, &[], &[])
}

fn codes(text: &str) -> Vec<&'static str> {
    match load_with(text, &[], &[]) {
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(|problem| problem.code).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

const PROD: &str = r#"
schema = 1
[cluster]
name = "prod"
[ssh]
user = "flink"
jump = ["ops@bastion:2222"]
options = { GSSAPIAuthentication = "yes" }
[dirs]
tmp = "/scratch"
[defaults]
slots = 4
env = { RUST_LOG = "info", A = "defaults" }
[groups.big]
slots = 16
env = { A = "group", B = "group" }
[[host]]
name = "jm01"
address = "10.0.0.1"
data_address = "fd00::1"
roles = ["jobmanager"]
[[host]]
name = "tm[01-03]"
address = "10.0.1.[1-3]"
data_address = "192.168.7.[1-3]"
group = "big"
env = { B = "host" }
ssh = { port = 2222, user = "ops" }
workdir = "/mnt/nvme/flinkctl"
[[host]]
name = "tm04"
slots = 2
[taskmanager]
max = 3
data_ports = "40000-40099"
placement = "pack"
mtu = 9000
"#;

#[test]
fn the_shortest_inventory() {
    let cluster = load("[[host]]\nname = \"localhost\"\n");
    let host = cluster.jobmanager_host();
    assert!(host.is_local);
    assert_eq!(host.data_address, "127.0.0.1");
    assert_eq!(
        host.roles,
        Roles {
            jobmanager: true,
            taskmanager: true
        }
    );
    assert_eq!(host.slots, 1);
    assert_eq!(cluster.name, "default");
    assert_eq!(cluster.taskmanager.heartbeat.timeout, Duration::from_secs(3));
    assert_eq!(cluster.tls.validity, Duration::from_secs(30 * 86_400));
    assert_eq!(cluster.max_taskmanagers(), 1);
}

#[test]
fn the_most_specific_value_counts() {
    let cluster = load(PROD);
    assert_eq!(cluster.jobmanager_host().name, "jm01");
    let names: Vec<&str> = cluster.taskmanager_hosts().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["tm01", "tm02", "tm03", "tm04"]);
    assert_eq!(cluster.max_taskmanagers(), 3);
    assert_eq!(cluster.total_slots(), 48);
    let tm02 = cluster.host("tm02").expect("tm02");
    assert_eq!(
        (tm02.address.as_str(), tm02.data_address.as_str()),
        ("10.0.1.2", "192.168.7.2")
    );
    assert_eq!(
        (tm02.slots, tm02.port, tm02.user.as_deref()),
        (16, Some(2222), Some("ops"))
    );
    assert_eq!(
        (tm02.base_dir.as_str(), tm02.tmp_dir.as_str()),
        ("/mnt/nvme/flinkctl", "/scratch")
    );
    let env: Vec<(&str, &str)> = tm02
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("A", "group"), ("B", "host"), ("RUST_LOG", "info")]);
    let tm04 = cluster.host("tm04").expect("tm04");
    assert_eq!((tm04.address.as_str(), tm04.data_address.as_str()), ("tm04", "tm04"));
    assert_eq!((tm04.slots, tm04.port, tm04.user.as_deref()), (2, None, Some("flink")));
    assert_eq!(cluster.ssh.jump, ["ops@bastion:2222"]);
    assert_eq!(cluster.taskmanager.mtu.bytes(), 9000);
    assert_eq!(cluster.taskmanager.data_ports.len(), Some(100));
}

#[test]
fn a_cluster_survives_the_wire() {
    let cluster = load(PROD);
    let bytes = postcard::to_stdvec(&cluster).expect("serializes");
    assert_eq!(postcard::from_bytes::<Cluster>(&bytes), Ok(cluster.clone()));
    let json = serde_json::to_string(&cluster).expect("serializes");
    assert_eq!(serde_json::from_str::<Cluster>(&json).ok(), Some(cluster));
}

#[test]
fn layers() {
    let idle = |defines: &[&str], variables: &[(&str, &str)]| {
        let inventory = load_with(
            "[taskmanager]\nidle_timeout = \"7s\"\n[[host]]\nname = \"localhost\"\n",
            defines,
            variables,
        )
        .expect("valid");
        let origin = inventory
            .origin(None, "taskmanager.idle_timeout")
            .map(ToString::to_string);
        (
            inventory.cluster.taskmanager.idle_timeout.as_secs(),
            origin.unwrap_or_default(),
        )
    };
    let variable = [("FLINKCTL_TASKMANAGER_IDLE_TIMEOUT", "8s")];
    assert_eq!(idle(&[], &[]), (7, "cluster.toml:2 [taskmanager]".to_owned()));
    assert_eq!(
        idle(&[], &variable),
        (8, "variable FLINKCTL_TASKMANAGER_IDLE_TIMEOUT".to_owned())
    );
    assert_eq!(idle(&["taskmanager.idle_timeout=9s"], &variable), (9, "-D".to_owned()));
    assert_eq!(
        idle(
            &["taskmanager.idle_timeout=9s", "taskmanager.idle_timeout=\"10s\""],
            &[]
        )
        .0,
        10
    );
}

#[test]
fn origins_of_a_host() {
    let inventory = load_with(PROD, &["ssh.port=2200"], &[("FLINKCTL_SSH_USER", "x")]).expect("valid");
    let settings = inventory
        .settings
        .iter()
        .filter(|setting| matches!(setting.host.as_deref(), Some("tm02" | "tm04")));
    let lines: Vec<String> = settings
        .map(|setting| {
            let value = setting
                .value
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string);
            format!(
                "{} {} = {value}  ({})",
                setting.host.as_deref().unwrap_or_default(),
                setting.key,
                setting.origin
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_kind_of_value_can_be_overridden() {
    let defines = [
        "ssh.port=2200",
        "ssh.jump=a,b:22",
        "ssh.options.Compression=yes",
        "defaults.env.X=a=b",
        "groups.big.slots=32",
        "taskmanager.heartbeat.interval=100ms",
        "taskmanager.placement=spread",
        "taskmanager.data_ports=0",
        "cluster.name=42",
    ];
    let cluster = load_with(PROD, &defines, &[]).expect("valid").cluster;
    assert_eq!(cluster.name, "42");
    assert_eq!(cluster.ssh.jump, ["a", "b:22"]);
    assert_eq!(cluster.ssh.options.len(), 2);
    assert_eq!(
        cluster.host("tm04").map(|host| (host.port, host.env["X"].clone())),
        Some((Some(2200), "a=b".to_owned()))
    );
    assert_eq!(cluster.host("tm01").map(|host| host.slots), Some(32));
    assert_eq!(cluster.taskmanager.placement, Placement::Spread);
    assert!(cluster.taskmanager.data_ports.is_any());
}

#[test]
fn wrong_overrides() {
    let defines = [
        "taskmanager.idle_timout=5s",
        "taskmanager.mtu=1400",
        "nonsense",
        "groups.bg.slots=3",
        "host.tm01.slots=2",
        "idle_timeout=5s",
    ];
    insta::assert_snapshot!(errors_with(PROD, &defines, &[("FLINKCTL_SSH_PORT", "70000")]));
}

#[test]
fn all_mistakes_at_once() {
    insta::assert_snapshot!(errors(
        r#"
schema = 1
[cluster]
name = "Prod"
[ssh]
host_keys = "accept_new"
port = "22"
memory = "1GiB"
options = { ControlPath = "/x", Compression = "yes" }
[dirs]
base = "relative/path"
[taskmanager]
idle_timout = "5s"
heartbeat = { interval = "2s", timeout = "3s" }
data_ports = "50-40"
start_timeout = "5 parsecs"
mtu = 1400
slots = 4
[groups.big]
slot = 8
[[host]]
name = "tm[01-04]"
address = "10.0.0.[1-3]"
group = "bg"
[[host]]
address = "10.0.0.9"
[[host]]
name = "tm09"
roles = ["taskmanger"]
env = { FLINKCTL_X = "1", OK = 3 }
ssh = { prot = 2222 }
idle_timeout = "5s"
"#
    ));
}

#[test]
fn syntax_errors_come_with_the_others() {
    insta::assert_snapshot!(errors(
        "[cluster]\nname = prod\n[ssh]\nprt = 22\nport = \n[[host]]\nname = \"localhost\"\nname = \"twice\"\n"
    ));
}

#[test]
fn tables_of_the_wrong_kind() {
    insta::assert_snapshot!(errors("ssh = 3\n[host]\nname = \"localhost\"\n[groups]\nslots = 3\n"));
}

#[test]
fn hosts_that_do_not_go_together() {
    insta::assert_snapshot!(errors(
        r#"
[[host]]
name = "a[1-2]"
address = "10.0.0.[1-2]"
roles = ["jobmanager"]
[[host]]
name = "a2"
address = "10.0.0.9"
[[host]]
name = "b"
address = "10.0.0.1"
[[host]]
name = "localhost"
[supervise]
death_timeout = "1s"
"#
    ));
}

#[test]
fn codes_of_semantic_checks() {
    let host = "[[host]]\nname = \"h\"\n";
    let cases: [(String, &[&str]); 10] = [
        (String::new(), &["config.no-hosts"]),
        (host.to_owned(), &[]),
        (format!("schema = 2\n{host}"), &["config.bad-value"]),
        (format!("{host}roles = []\n"), &["config.bad-value"]),
        (format!("{host}roles = [\"jobmanager\"]\n"), &["config.no-taskmanager"]),
        (format!("{host}{host}"), &["config.conflict"]),
        (
            format!("{host}[[host]]\nname = \"g\"\naddress = \"h\"\nssh = {{ port = 2222 }}\n"),
            &[],
        ),
        (
            format!("{host}[[host]]\nname = \"g\"\naddress = \"h\"\nssh = {{ port = 22 }}\n"),
            &["config.conflict"],
        ),
        (
            format!("{host}[[host]]\nname = \"g\"\ndata_address = \"h\"\n[taskmanager]\ndata_ports = \"4000\"\n"),
            &["config.conflict"],
        ),
        (
            format!("{host}[ssh]\nconnect_timeout = \"2m\"\n"),
            &["config.bad-value"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(codes(&text), expected, "{text}");
    }
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = UserError::from(ConfigError::NotFound {
        looked: vec![
            PathBuf::from("cluster.toml"),
            PathBuf::from("/h/.config/flinkctl/cluster.toml"),
        ],
    });
    insta::assert_snapshot!(error.render_plain());
    let request = Request {
        file: Some(PathBuf::from("/nowhere/cluster.toml")),
        ..Request::default()
    };
    let error = UserError::from(Inventory::load(&request).expect_err("no such file"));
    assert_eq!((error.code(), error.exit_code()), ("config.read", ExitCode::Usage));
}

#[test]
fn unchecked_host_keys_are_worth_a_warning() {
    let inventory = load_with(&format!("{PROD}\n"), &["ssh.host_keys=off"], &[]).expect("valid");
    insta::assert_snapshot!(inventory.warnings()[0].render_plain());
    assert!(load_with(PROD, &[], &[]).expect("valid").warnings().is_empty());
}

#[test]
fn selections() {
    let cluster = load(PROD);
    let select = |hosts: &[&str], exclude: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let names = |hosts: Vec<&Host>| hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>().join(" ");
        cluster
            .select(&own(hosts), &own(exclude))
            .map(names)
            .map_err(|error| error.code().to_owned())
    };
    type Case<'a> = (&'a [&'a str], &'a [&'a str], Result<&'a str, &'a str>);
    let cases: [Case<'_>; 9] = [
        (&[], &[], Ok("jm01 tm01 tm02 tm03 tm04")),
        (&["tm04,tm[01-02]"], &[], Ok("tm01 tm02 tm04")),
        (&["@big"], &["tm02"], Ok("tm01 tm03")),
        (&["tm01", "jm01"], &[], Ok("jm01 tm01")),
        (&[], &["@big,tm04"], Ok("jm01")),
        (&["tm1"], &[], Err("hosts.unknown")),
        (&["@bg"], &[], Err("hosts.unknown")),
        (&["tm[1"], &[], Err("hosts.bad-range")),
        (&["tm01"], &["tm01"], Err("hosts.none")),
    ];
    for (hosts, exclude, expected) in cases {
        assert_eq!(
            select(hosts, exclude),
            expected.map(ToOwned::to_owned).map_err(ToOwned::to_owned),
            "{hosts:?} {exclude:?}"
        );
    }
}

#[test]
fn restricting_keeps_the_jobmanager() {
    let cluster = load(PROD);
    let own = |text: &str| vec![text.to_owned()];
    let restricted = cluster.restrict(&own("tm04"), &[]).expect("possible");
    assert_eq!(restricted.jobmanager_host().name, "jm01");
    assert_eq!(restricted.hosts.len(), 2);
    assert_eq!(
        cluster
            .restrict(&[], &own("jm01"))
            .map_err(|error| error.code().to_owned()),
        Err("hosts.jobmanager".to_owned())
    );
    assert_eq!(
        cluster
            .restrict(&own("jm01"), &[])
            .map_err(|error| error.code().to_owned()),
        Err("hosts.none".to_owned())
    );
}

/// The annotated file with the `#` taken away from every key.
fn uncommented() -> String {
    let key = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '['))
            .map(ToOwned::to_owned)
    };
    ANNOTATED
        .lines()
        .map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

#[test]
fn the_annotated_inventory_is_valid_either_way() {
    let as_it_is = load(ANNOTATED);
    assert_eq!(as_it_is, load("[[host]]\nname = \"localhost\"\n"));
    load(&uncommented());
}

#[test]
fn the_annotated_inventory_shows_every_key_with_its_default() {
    let table: toml::Table = uncommented().parse().expect("TOML");
    schema::each_setting(&mut |path, leaf| {
        let mut segments = path.split('.');
        let first = segments.next().and_then(|first| table.get(first));
        let value = segments
            .try_fold(first, |value, segment| value.map(|value| value.get(segment)))
            .flatten();
        let shown = value.unwrap_or_else(|| panic!("cluster.toml does not show `{path}`"));
        if let Some(default) = leaf.default {
            assert_eq!(
                leaf.read_text(default).ok().as_ref(),
                Some(shown),
                "default of `{path}`"
            );
        }
    });
    let keys = |value: &toml::Value| {
        value
            .as_table()
            .map(|table| table.keys().cloned().collect::<BTreeSet<_>>())
            .unwrap_or_default()
    };
    let shape = |name: &str| schema::ROOT.iter().find(|key| key.name == name).map(|key| &key.shape);
    let Some(schema::Shape::ListOf(host)) = shape("host") else {
        panic!("no hosts in the schema")
    };
    assert_eq!(
        keys(&table["host"][0]),
        host.iter().map(|key| key.name.to_owned()).collect()
    );
    let Some(schema::Shape::TableOf(group)) = shape("groups") else {
        panic!("no groups in the schema")
    };
    assert_eq!(
        keys(&table["groups"]["big"]),
        group.iter().map(|key| key.name.to_owned()).collect()
    );
}

#[test]
fn schema_and_serde_types_know_the_same_keys() {
    fn names(keys: &[schema::Key], prefix: &str, all: &mut BTreeSet<String>) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match &key.shape {
                schema::Shape::Table(inner) => names(inner, &format!("{path}."), all),
                schema::Shape::TableOf(inner) => names(inner, &format!("{path}.big."), all),
                schema::Shape::ListOf(inner) => names(inner, &format!("{path}.0."), all),
                schema::Shape::Leaf(_) | schema::Shape::Map(_) => drop(all.insert(path)),
            }
        }
    }
    fn fields(value: &toml::Value, path: &str, known: &BTreeSet<String>, all: &mut BTreeSet<String>) {
        let inner = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        match value {
            _ if known.contains(path) => drop(all.insert(path.to_owned())),
            toml::Value::Table(table) => table
                .iter()
                .for_each(|(name, value)| fields(value, &inner(name), known, all)),
            toml::Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, item)| fields(item, &inner(&at.to_string()), known, all)),
            _ => drop(all.insert(path.to_owned())),
        }
    }
    let mut in_schema = BTreeSet::new();
    names(schema::ROOT, "", &mut in_schema);
    let file: file::File = toml::from_str(&uncommented()).expect("the serde types take what the schema takes");
    let mut in_types = BTreeSet::new();
    fields(
        &toml::Value::try_from(&file).expect("serializes"),
        "",
        &in_schema,
        &mut in_types,
    );
    assert_eq!(in_schema, in_types);
}

#[test]
fn every_default_is_a_valid_value() {
    let mut variables = BTreeSet::new();
    schema::each_setting(&mut |path, leaf| {
        assert!(
            variables.insert(schema::variable_of(path)),
            "two keys with the variable of `{path}`"
        );
        if let Some(default) = leaf.default {
            assert!(leaf.read_text(default).is_ok(), "default of `{path}`: {default}");
        }
    });
}
