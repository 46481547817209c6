//! The processor features that a guest has found so far, where some of that was on another host: neither `xl` nor libxl's configuration has a place for them, and
//! where the guest goes next they decide whether it can. They are in xenstore, with the domain: nobody has to forget them when it ends, or reboots and finds others.

use domain::{DomainConfig, known_features};
use toolstack::DomainId;

use crate::xenstore;

/// Below a domain's node: names of features, with a space between them.
const NODE: &str = "relocd/cpu-features";

/// Keeps them with a domain that has just arrived. What can't be kept is no reason not to run it: its next destination is asked for what this host has.
pub(crate) fn keep(config: &DomainConfig, id: DomainId) {
    if config.cpu_features.is_empty() {
        return;
    }
    if let Err(error) = xenstore::write(&xenstore::node(id, NODE), &config.cpu_features.join(" ")) {
        tracing::warn!(
            domid = id, %error,
            "which processor features the domain was started with is not known from here on: its next host is asked for those of this one"
        );
    }
}

/// Those that came with a domain; none if it was started here.
pub(crate) fn cpu_features(id: DomainId) -> Vec<String> {
    let kept = xenstore::read(&xenstore::node(id, NODE)).unwrap_or_default();
    let names: Vec<String> = kept.split_ascii_whitespace().map(str::to_owned).collect();
    known_features(&names).into_iter().map(str::to_owned).collect()
}
