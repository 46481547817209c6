use super::*;

fn config(allow: &str) -> Config {
    let text = format!(
        "(xend-relocation-server yes)(xend-relocation-hosts-allow '{}')",
        allow.replace('\\', "\\\\")
    );
    Config::parse(text.as_bytes(), "x").unwrap().config
}

#[test]
fn nft_rules() {
    let text = nft(&config(r"10.0.0.0/8 fd00::1 ^a\.example\.com$ 10.0.0.0/8"));
    assert_eq!(
        text,
        r"# relocd: who may reach the relocation ports. Load with: nft -f FILE
# no rule for ^a\.example\.com$ : a pattern, not an address. Add the hosts that it means
table inet relocd
delete table inet relocd
table inet relocd {
    chain input {
        type filter hook input priority 0; policy accept;
        tcp dport { 8002 } ip saddr 10.0.0.0/8 accept
        tcp dport { 8002 } ip6 saddr fd00::1/128 accept
        tcp dport { 8002 } drop
    }
}
"
    );
}

#[test]
fn iptables_script() {
    let text = iptables(&config("10.0.0.0/8 fd00::1"));
    assert_eq!(
        text,
        "#!/bin/sh
# relocd: who may reach the relocation ports. Run with: sh FILE
set -e
iptables-restore --noflush <<'END'
*filter
:RELOCD - [0:0]
-A RELOCD -p tcp -m multiport --dports 8002 -s 10.0.0.0/8 -j ACCEPT
-A RELOCD -p tcp -m multiport --dports 8002 -j DROP
COMMIT
END
iptables -C INPUT -p tcp -j RELOCD 2>/dev/null || iptables -I INPUT -p tcp -j RELOCD
ip6tables-restore --noflush <<'END'
*filter
:RELOCD - [0:0]
-A RELOCD -p tcp -m multiport --dports 8002 -s fd00::1/128 -j ACCEPT
-A RELOCD -p tcp -m multiport --dports 8002 -j DROP
COMMIT
END
ip6tables -C INPUT -p tcp -j RELOCD 2>/dev/null || ip6tables -I INPUT -p tcp -j RELOCD
"
    );
}

#[test]
fn both_ports_everyone_and_nothing() {
    let mut both = config("10.0.0.1");
    both.ssl_server = true;
    assert!(nft(&both).contains("tcp dport { 8002, 8003 } drop"));
    assert!(iptables(&both).contains("--dports 8002,8003 -j DROP"));
    let everyone = config("");
    for text in [nft(&everyone), iptables(&everyone)] {
        assert!(
            text.contains("every host is let in") && !text.to_lowercase().contains("drop"),
            "{text}"
        );
    }
    for text in [nft(&Config::default()), iptables(&Config::default())] {
        assert!(text.contains("nothing to protect") && !text.contains("8002"), "{text}");
    }
}

#[test]
fn localhosts_names_are_loopback() {
    let text = nft(&config(r"^localhost$ ^localhost\.localdomain$"));
    assert!(text.contains("ip saddr 127.0.0.0/8 accept") && text.contains("ip6 saddr ::1/128 accept"));
    assert_eq!(text.matches("127.0.0.0/8").count(), 1);
    assert!(!text.contains("no rule for"));
}

#[test]
fn comments_do_no_harm() {
    let text = iptables(&config("^$(reboot)`id`;rm\t-rf|x&y>z<w\"!#\n/sbin/halt\\$"));
    let comment = text.lines().find(|line| line.contains("no rule")).unwrap();
    let shown = comment
        .strip_prefix("# no rule for ")
        .unwrap()
        .split(" : ")
        .next()
        .unwrap();
    // At the end there is nothing to expand.
    let shown = shown.strip_suffix('$').unwrap();
    assert!(
        shown.bytes().all(|byte| !b"$(){}`;|&<>\"'!#~*? \t\n".contains(&byte)),
        "{comment}"
    );
    assert!(text.lines().all(|line| !line.contains("halt") || line.starts_with('#')));
    for format in [nft, iptables] {
        let long = format(&config(&format!("^{}$", "a".repeat(1500))));
        assert!(long.lines().all(|line| line.len() < 400));
    }
}
