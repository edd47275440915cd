//! WebSocket clients against a server in this process: real sockets, a real database, real time.

mod frames;
mod live;
mod server;
