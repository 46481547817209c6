//! Software machines that really execute: RV64IMA processor, RAM, console, and their toolstack.
