//! Questions about the configuration that need no daemon.

use std::{net::IpAddr, path::Path, process::ExitCode, time::Duration};

use config::{AllowedBy, Config, Verdict, firewall};

use crate::{cli::FirewallFormat, names};

/// Reads a configuration; tells what is wrong with it on standard error.
fn load(file: &Path) -> Option<Config> {
    match Config::load(file) {
        Ok(loaded) => {
            loaded.notes.iter().for_each(|note| eprintln!("{note}"));
            for what in cautions(&loaded.config) {
                eprintln!("{}: warning: {what}", file.display());
            }
            Some(loaded.config)
        }
        Err(errors) => {
            eprintln!("{errors}");
            None
        }
    }
}

/// What a configuration asks for that this version does not do, or that can lose a domain.
pub(crate) fn cautions(config: &Config) -> impl Iterator<Item = &'static str> {
    let client = config
        .relocation_ssl
        .then_some("xend-relocation-ssl: this version does not send over TLS; xm migrate is refused");
    let copy = (!config.safety_copy).then_some(
        "relocd-safety-copy no: a domain from an xend that can't be started here after its last byte is lost",
    );
    client.into_iter().chain(copy)
}

/// `relocd check-config`: 0 if the file can be used, else 1.
pub fn config(file: &Path) -> ExitCode {
    match load(file) {
        Some(_) => {
            println!("{}: ok", file.display());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// `relocd check-host`: 0 if the host is let in, else 1.
pub fn host(address: IpAddr, file: &Path) -> ExitCode {
    let Some(config) = load(file) else {
        return ExitCode::FAILURE;
    };
    if !config.relocation_server && !config.ssl_server {
        eprintln!(
            "{}: warning: no relocation is taken at all without (xend-relocation-server yes)",
            file.display()
        );
    }
    let address = address.to_canonical();
    let mut verdict = config.hosts_allow.check(address, &[]);
    let mut found = String::new();
    if matches!(verdict, Verdict::Refused) && config.hosts_allow.needs_names() {
        let names = confirmed(address, config.name_lookup_timeout);
        found = match names.first() {
            Some(name) => format!(" (name: {name})"),
            None => " (it has no name that resolves back to it)".to_owned(),
        };
        verdict = config.hosts_allow.check(address, &names);
    }
    match verdict {
        Verdict::Allowed { entry, by } => {
            let by = match by {
                AllowedBy::Address => "its address".to_owned(),
                AllowedBy::Name(name) => format!("its name {name}"),
            };
            println!("{address}: allowed by entry '{entry}', because of {by}");
            ExitCode::SUCCESS
        }
        Verdict::Refused => {
            println!("{address}: refused: no entry of xend-relocation-hosts-allow matches{found}");
            ExitCode::FAILURE
        }
    }
}

fn confirmed(address: IpAddr, limit: Duration) -> Vec<String> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(names::confirmed(address, limit)),
        Err(_) => Vec::new(),
    }
}

/// `relocd firewall`.
pub fn firewall(format: FirewallFormat, file: &Path) -> ExitCode {
    let Some(config) = load(file) else {
        return ExitCode::FAILURE;
    };
    let rules = match format {
        FirewallFormat::Nft => firewall::nft(&config),
        FirewallFormat::Iptables => firewall::iptables(&config),
    };
    print!("{rules}");
    ExitCode::SUCCESS
}
