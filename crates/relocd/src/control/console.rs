//! A domain's console, passed through.

use std::sync::Arc;

use peer::control::{Failure, Reply};
use tokio::{io::copy_bidirectional, net::UnixStream};

use super::send;
use crate::{blocking::blocking, failure, host::Host};

/// Passes the console through until one end closes.
///
/// # Errors
/// [`Failure`] if there is no console; nothing has been sent then.
pub async fn console(host: &Arc<Host>, stream: &mut UnixStream, wanted: &str) -> Result<(), Failure> {
    let domain = host.find_domain(wanted).await?;
    let toolstack = Arc::clone(&host.toolstack);
    let id = domain.id;
    let console = blocking(move || toolstack.console(id))
        .await
        .map_err(|error| failure::toolstack(&error))?;
    console
        .set_nonblocking(true)
        .map_err(|error| failure::internal(&error))?;
    let mut console = UnixStream::from_std(console).map_err(|error| failure::internal(&error))?;
    if send(
        stream,
        &Reply::Console {
            name: domain.name,
            domid: domain.id,
        },
    )
    .await
    .is_ok()
    {
        // Either end may go at any time: that is how a console ends.
        let _ = copy_bidirectional(stream, &mut console).await;
    }
    Ok(())
}
