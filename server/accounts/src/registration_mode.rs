//! Who may register: as the configuration says, unless it was chosen while the server runs.

use hearth_store::StoreError;

use crate::{AccountError, Accounts, RegistrationMode, keys::REGISTRATION_MODE};

const CLOSED: &str = "closed";
const TOKEN: &str = "token";
const OPEN: &str = "open";

impl Accounts {
    /// Who may register now, on every process of the server.
    pub async fn registration_mode(&self) -> Result<RegistrationMode, AccountError> {
        Ok(self.chosen_registration_mode().await?.unwrap_or(self.config.registration))
    }

    /// What was chosen over the configuration; `None`: the configuration counts.
    pub async fn chosen_registration_mode(&self) -> Result<Option<RegistrationMode>, AccountError> {
        let read = |tx| async move { REGISTRATION_MODE.get_snapshot(&tx, (0,)).await };
        let chosen = self.store.transact::<_, StoreError, _, _>("accounts.registration_mode", read).await?;
        Ok(chosen.map(|chosen| match &*chosen {
            TOKEN => RegistrationMode::Token,
            OPEN => RegistrationMode::Open,
            // Also what a newer version wrote: nobody is let in by mistake.
            _ => RegistrationMode::Closed,
        }))
    }

    /// Chooses over the configuration until something else is chosen; `None` goes back to the configuration.
    pub async fn choose_registration_mode(&self, mode: Option<RegistrationMode>) -> Result<(), AccountError> {
        let name = mode.map(|mode| match mode {
            RegistrationMode::Closed => CLOSED,
            RegistrationMode::Token => TOKEN,
            RegistrationMode::Open => OPEN,
        });
        let write = |tx| async move {
            match name {
                Some(name) => REGISTRATION_MODE.set(&tx, (0,), &name.to_owned()),
                None => REGISTRATION_MODE.clear(&tx, (0,)),
            }
            Ok::<_, StoreError>(())
        };
        Ok(self.store.transact("accounts.choose_registration_mode", write).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::tests::accounts_with;

    #[tokio::test]
    async fn a_choice_stands_above_the_configuration_until_it_is_taken_back() {
        let accounts = accounts_with(|config| config.registration = RegistrationMode::Token);
        assert_eq!(accounts.registration_mode().await.unwrap(), RegistrationMode::Token);
        assert_eq!(accounts.chosen_registration_mode().await.unwrap(), None);
        for mode in [RegistrationMode::Closed, RegistrationMode::Open, RegistrationMode::Token] {
            accounts.choose_registration_mode(Some(mode)).await.unwrap();
            assert_eq!(accounts.registration_mode().await.unwrap(), mode);
            let again = Accounts::new(accounts.store().clone(), accounts.config().clone());
            assert_eq!(again.chosen_registration_mode().await.unwrap(), Some(mode), "after a restart");
        }
        accounts.choose_registration_mode(None).await.unwrap();
        assert_eq!(accounts.registration_mode().await.unwrap(), RegistrationMode::Token);
    }
}
