//! WebSocket clients against a server in this process: real sockets, a real database, real time.

mod compression;
mod frames;
mod live;
mod raw;
mod server;
