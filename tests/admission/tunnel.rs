//! Two hosts whose bridges of one name are on different networks, in network namespaces, with a guest's network beside them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

use crate::support::{Host, field, lives::inside, text};

/// Of the two hosts on the network between them.
const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// Of their bridges.
const SUBNETS: [&str; 2] = ["198.51.100.1/24", "203.0.113.1/24"];
const GUEST: &str = "198.51.100.10";
const CLIENT: &str = "198.51.100.20";

/// Answers each line with itself, for one connection.
const ECHO: &str = "import socket\n\
    server = socket.create_server(('', 7777))\n\
    print('ready', flush=True)\n\
    file = server.accept()[0].makefile('rwb')\n\
    for line in file:\n    file.write(line)\n    file.flush()\n";

/// Lets lines through to the guest and back, on one connection.
const ASK: &str = "import socket, sys\n\
    file = socket.create_connection((sys.argv[1], 7777)).makefile('rwb')\n\
    for line in sys.stdin.buffer:\n    file.write(line)\n    file.flush()\n    sys.stdout.buffer.write(file.readline())\n    sys.stdout.flush()\n";

fn run(namespace: Option<&str>, words: &str) -> Output {
    let mut words = words.split(' ');
    inside(namespace, words.next().unwrap()).args(words).output().unwrap()
}

fn ok(namespace: Option<&str>, words: &str) {
    let output = run(namespace, words);
    assert!(output.status.success(), "{words}: {}", text(&output));
}

struct Namespace(String);

impl Namespace {
    fn new(what: &str) -> Namespace {
        let namespace = Namespace(format!("relocd-adm{}-{what}", std::process::id()));
        ok(None, &format!("ip netns add {}", namespace.0));
        ok(Some(&namespace.0), "ip link set lo up");
        namespace
    }

    fn ip(&self, words: &str) {
        ok(Some(&self.0), &format!("ip {words}"));
    }

    /// A machine on the bridge of a host, at the cable `cable`.
    fn plugged_in(what: &str, address: &str, host: &Namespace, cable: &str) -> Namespace {
        let namespace = Namespace::new(what);
        namespace.ip(&format!("link add eth0 type veth peer name {cable} netns {}", host.0));
        namespace.ip(&format!("address add {address}/24 dev eth0"));
        namespace.ip("link set eth0 up");
        host.ip(&format!("link set {cable} master xenbr0 up"));
        namespace
    }

    fn python(&self, program: &str, arguments: &[&str]) -> Program {
        let mut child = inside(Some(&self.0), "python3")
            .args(["-c", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take().unwrap();
        Program { child, input, lines }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(None, &format!("ip netns del {}", self.0));
    }
}

struct Program {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// The guest has this line, and it has come back.
    fn exchange(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        let back = self.line();
        assert!(
            back.trim_end() == line,
            "{} bytes came back of {}",
            back.len(),
            line.len()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why this can't be done here.
fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces take root");
    }
    let made = Command::new("unshare")
        .args([
            "--net",
            "ip",
            "link",
            "add",
            "vxlan1",
            "type",
            "vxlan",
            "id",
            "1",
            "local",
            "192.0.2.1",
        ])
        .args(["remote", "192.0.2.2", "dstport", "4789"])
        .output();
    (!made.is_ok_and(|output| output.status.success())).then_some("no network namespace with a VXLAN can be made here")
}

/// The commands that a refusal prints: for the source, for the destination.
fn commands(said: &str) -> [String; 2] {
    let lines = said.lines().filter_map(|line| line.strip_prefix("    on "));
    let commands: Vec<String> = lines.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    commands.try_into().expect(said)
}

#[test]
fn the_printed_tunnel_joins_the_networks_and_a_connection_survives() {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return;
    }
    let namespaces = [Namespace::new("a"), Namespace::new("b")];
    let [a, b] = &namespaces;
    a.ip(&format!("link add eth0 type veth peer name eth0 netns {}", b.0));
    for ((namespace, address), subnet) in namespaces.iter().zip(ADDRESSES).zip(SUBNETS) {
        namespace.ip(&format!("address add {address}/24 dev eth0"));
        namespace.ip("link set eth0 up");
        namespace.ip("link add xenbr0 type bridge");
        namespace.ip(&format!("address add {subnet} dev xenbr0"));
        namespace.ip("link set xenbr0 up");
    }
    let guest = Namespace::plugged_in("guest", GUEST, a, "vif1");
    let client = Namespace::plugged_in("client", CLIENT, a, "eth1");
    let mut server = guest.python(ECHO, &[]);
    assert_eq!(server.line(), "ready\n");
    let mut connection = client.python(ASK, &[GUEST]);
    connection.exchange("before");

    let allow = "(xend-relocation-hosts-allow '192.0.2.0/24')";
    let mut hosts = [0, 1].map(|at| Host::in_namespace(&namespaces[at].0, ADDRESSES[at], allow));
    hosts.iter_mut().for_each(Host::run);
    let [source, destination] = &hosts;
    let file = source.path("vif.cfg");
    let config = "name='web'\nmemory=16\nextra='dirty=5 verify=100'\nvif=['mac=00:16:3e:00:00:01,bridge=xenbr0']\n";
    fs::write(&file, config).unwrap();
    source.ok(&["create", file.to_str().unwrap()]);

    let said = source.migrate_fails(destination, &["-l"]);
    assert!(
        said.contains("the source has 198.51.100.0/24 on it, the destination 203.0.113.0/24"),
        "{said}"
    );
    assert!(said.contains("was not touched") && said.contains("--force"), "{said}");
    for (namespace, command) in namespaces.iter().zip(commands(&said)) {
        let output = inside(Some(&namespace.0), "sh")
            .args(["-c", &command])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", text(&output));
        // A second time would be a loop.
        let again = inside(Some(&namespace.0), "sh")
            .args(["-c", &command])
            .output()
            .unwrap();
        assert!(!again.status.success(), "{command}");
    }
    source.migrates(destination, &["-l", "--force"]);
    assert!(source.is_empty() && destination.runs());
    // What the hotplug scripts do at both hosts.
    a.ip(&format!("link set vif1 netns {}", b.0));
    b.ip("link set vif1 master xenbr0 up");
    connection.exchange("after");
    // More than a packet that the way between the hosts takes in one piece.
    connection.exchange(&"x".repeat(100_000));
    for host in &hosts {
        let audit = host.audit();
        assert_eq!(
            field(audit.last().unwrap(), "forced").as_deref(),
            Some("other-subnet"),
            "{audit:?}"
        );
        assert!(!host.logged("--force").is_empty());
    }
    // And back through the same tunnel, of which there must not be a second one.
    let said = destination.migrate_fails(source, &[]);
    for (namespace, command) in namespaces.iter().rev().zip(commands(&said)) {
        let output = inside(Some(&namespace.0), "sh")
            .args(["-c", &command])
            .output()
            .unwrap();
        assert!(text(&output).contains("File exists"), "{command}: {}", text(&output));
    }
    destination.migrates(source, &["--force"]);
    b.ip(&format!("link set vif1 netns {}", a.0));
    a.ip("link set vif1 master xenbr0 up");
    connection.exchange("home");
}
