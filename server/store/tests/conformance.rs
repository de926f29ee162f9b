//! The conformance suite: on the embedded engine, on disk and in memory, and on FoundationDB where it is installed.

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

mod foundationdb {
    async fn make() -> Option<crate::suite::Subject> {
        let cluster = hearth_store_testing::cluster()?;
        let options = hearth_store::FoundationDbOptions {
            cluster_file: cluster.cluster_file().to_owned(),
            client_library: cluster.client_library(),
            key_prefix: cluster.new_prefix(),
        };
        let store = hearth_store::Store::open_foundationdb(options).await.expect("the cluster is there");
        Some(crate::suite::Subject { store, prefix: b"case/".to_vec(), _keep: Box::new(()) })
    }

    crate::conformance!(make);
}
