//! A cable between two nodes that can be cut.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Passes connections on to an endpoint, until they are cut. Later ones are passed on again.
#[derive(Debug)]
pub struct Cable {
    endpoint: String,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    /// A cable to a TCP endpoint of a node.
    pub fn to(endpoint: &str) -> Self {
        let target = endpoint.strip_prefix("tcp://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let sockets = Arc::<Mutex<Vec<TcpStream>>>::default();
        let known = sockets.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                known.lock().unwrap().extend([near, far]);
            }
        });
        Cable { endpoint, sockets }
    }

    /// Where to join instead of the node itself.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Cuts all connections that there are now, in the middle of whatever they carry.
    pub fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
