//! The client machines joined to the server state in virtual time.
