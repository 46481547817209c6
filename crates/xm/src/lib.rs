//! The operators' command of relocd: xend's xm.
