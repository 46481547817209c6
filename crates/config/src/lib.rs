//! xend-config.sxp: every key typed, diagnostics with line and column, the allow list.
