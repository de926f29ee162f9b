//! `hearth store copy` and `hearth store unlock`

use std::time::Instant;

use hearth_archive::{CopyOptions, Progress, lock};

use super::{
    display,
    opening::{Named, Opened},
};
use crate::{
    cli::{Leave, StoreName},
    config::{Config, Engine},
    failure::{Failure, STOP},
};

const INTERRUPTED: &str = "Interrupted. The same command again goes on where it stopped. Until then no server can use either store; \
                           to give the copy up, run `hearth store unlock` on the source.";

pub(super) async fn run(from: Named<'_>, to: Named<'_>, leave: Leave) -> Result<u8, Failure> {
    let source = Opened::existing(from).await?;
    let target = match Opened::named(to).await {
        Ok(target) => target,
        Err(failure) => {
            source.close().await;
            return Err(failure);
        }
    };
    let progress = Progress::new();
    let begun = Instant::now();
    let options = CopyOptions {
        from: from.name.to_string(),
        to: to.name.to_string(),
        // On an instance of our own nothing else can be disturbed.
        advance_version: leave.advance_version || is_own_instance(to.name),
        start_over: leave.start_over,
    };
    let work = hearth_archive::copy(source.store(), target.store(), options, &progress);
    let done = display::show(work, &progress, &[&source, &target], INTERRUPTED).await;
    source.close().await;
    target.close().await;
    let summary = done?;
    let throughput = display::throughput(summary.keys, summary.bytes, begun.elapsed());
    crate::say(&format!("Copied {throughput} from {} to {}, and compared.", from.name, to.name));
    crate::say(
        "The server can be started on the new store: set [store] in its configuration. Its signing key stays the file \
         identity.toml in the data folder. Never start one on the old store again: two servers of one name would disagree.",
    );
    Ok(STOP)
}

fn is_own_instance(name: &StoreName) -> bool {
    let StoreName::Config(file) = name else { return false };
    Config::load(file)
        .is_ok_and(|config| config.store.engine == Engine::FoundationDb && config.store.cluster_file.is_none())
}

pub(super) async fn unlock(opened: Opened) -> Result<u8, Failure> {
    let unlocked = lock::unlock(opened.store()).await;
    opened.close().await;
    match unlocked {
        Ok(true) => crate::say("Unlocked. What the copy has written so far is in its target still, and of no use."),
        Ok(false) => crate::say("The store is not locked."),
        Err(error) => return Err(Failure::new(format!("The store cannot be read: {error}."))),
    }
    Ok(STOP)
}
