//! The durable log: what rooms of durability `disk` sealed, in SQLite, with backups and verification.
