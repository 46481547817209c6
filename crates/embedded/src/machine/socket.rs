//! The machine's socket: each connection's thread passes orders on and answers back.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
};

use super::orders::{Order, What};
use crate::protocol::{Answer, Command, Line};

pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

pub(super) fn serve(listener: &UnixListener, orders: &Sender<Order>) {
    for (connection, stream) in listener.incoming().enumerate() {
        let Ok(stream) = stream else { continue };
        let orders = orders.clone();
        let connection = connection as u64;
        let spawned = thread::Builder::new().spawn(move || {
            converse(stream, connection, &orders);
            let _ = orders.send(Order {
                connection,
                what: What::Gone,
            });
        });
        if let Err(error) = spawned {
            eprintln!("machine: a connection could not be served: {error}");
        }
    }
}

/// Passes a connection's orders on until it ends.
fn converse(stream: UnixStream, connection: u64, orders: &Sender<Order>) {
    let mut line = Line::new(stream);
    while let Ok(command) = line.receive::<Command>() {
        if let Command::Console = command {
            console(line.stream, connection, orders);
            return;
        }
        let state = match command {
            Command::Load { length } => match line.receive_bytes(length) {
                Ok(state) => state,
                Err(_) => return,
            },
            _ => Vec::new(),
        };
        let (answer, answered) = channel();
        let order = Order {
            connection,
            what: What::Command { command, state, answer },
        };
        if orders.send(order).is_err() {
            return;
        }
        let Ok(told) = answered.recv() else { return };
        let sent = line.send(&told.answer);
        if sent.is_err() || (matches!(told.answer, Answer::State { .. }) && line.stream.write_all(&told.state).is_err())
        {
            return;
        }
        drop(told.unsaid);
    }
}

/// What is written is the guest's input; its output goes to the watchers' end of the stream.
fn console(mut stream: UnixStream, connection: u64, orders: &Sender<Order>) {
    let Ok(watcher) = stream.try_clone() else { return };
    if orders
        .send(Order {
            connection,
            what: What::Watch(watcher),
        })
        .is_err()
    {
        return;
    }
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                let input = bytes.get(..count).unwrap_or_default().to_vec();
                if orders
                    .send(Order {
                        connection,
                        what: What::Input(input),
                    })
                    .is_err()
                {
                    return;
                }
            }
            // The watchers' end shares its non-blocking mode with this one.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(std::time::Duration::from_millis(50))
            }
            Err(_) => return,
        }
    }
}
