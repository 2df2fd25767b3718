//! `tcp-proxy`: bytes both ways.

use std::sync::Arc;

use tokio::io::{Interest, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::reach::{Reached, Way};

/// Copies until both directions have ended; a direction that ends is closed on the other side, and the other one
/// goes on. What can't be reached by the end of `hold` is closed.
pub(super) async fn serve(mut client: TcpStream, way: Arc<Way>) {
    let deadline = Instant::now() + way.settings.hold;
    let reached = tokio::select! {
        reached = way.reach(deadline, |_| None, |stream| std::future::ready(Ok(stream))) => reached,
        () = gone(&client) => return,
    };
    // What a connection carries has no end that orch could wait for.
    let Ok(Reached { by: mut server, .. }) = reached else { return };
    tokio::select! {
        // An error of either side ends both: each sees its connection closed.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = way.closed() => {}
    }
}

/// Completes when a client that waits has gone away. One that has only ended its own direction still waits for
/// what is answered, so that alone is no end.
async fn gone(client: &TcpStream) {
    let _ = client.ready(Interest::ERROR).await;
}
