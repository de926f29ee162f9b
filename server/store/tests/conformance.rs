//! The conformance suite on the embedded engine, on disk and in memory.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod suite;

mod embedded {
    async fn make() -> crate::suite::Subject {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = hearth_store::EmbeddedOptions { path: directory.path().join("store"), cache_bytes: 8 << 20 };
        crate::suite::Subject {
            store: hearth_store::Store::open(options).await.expect("a new store opens"),
            prefix: b"case/".to_vec(),
            _keep: Box::new(directory),
        }
    }

    crate::conformance!(make);
}

mod memory {
    async fn make() -> crate::suite::Subject {
        crate::suite::Subject { store: hearth_store::Store::memory(), prefix: b"case/".to_vec(), _keep: Box::new(()) }
    }

    crate::conformance!(make);
}
