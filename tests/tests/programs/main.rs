//! Real programs through the address of a service: they work as they do without the mesh, and the mesh's figures
//! agree with theirs.

mod carried;
mod databases;
mod names;
mod output;
mod proxy;
mod streams;
mod tls;
mod web;
