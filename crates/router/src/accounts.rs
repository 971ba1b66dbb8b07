//! Accounts and their credentials: SCRAM keys for each hash, never a password.
//!
//! An account is a row in `accounts`; its keys are rows in `credentials`. Everything else of it belongs to it as an owner in the store, so that
//! deleting it drops every trace at once. While that goes on the account's row says so, and the address cannot be used again.

use std::sync::Arc;

use jiff::Timestamp;
use nuncio_sansio::Entropy;
use nuncio_store::{Batch, Fault, Table};
use nuncio_stream::sasl::{Hash, Keys, KeysError, SaslCondition};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid::BareJid;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::facts::{AccountDisabled, AccountRemoved, PasswordChanged};
use crate::host::Loaded;
use crate::lane::Step;
use crate::points::{Login, LoginVerdict};
use crate::presence;
use crate::roster::Roster;
use crate::router::Router;

/// The key of an account's row.
const ROW: &[u8] = b"account";
/// The key of the row with its generation.
const GENERATION: &[u8] = b"generation";

/// What is known of an account beside its keys.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Account {
    /// When it was made.
    pub created: Timestamp,
    /// Whether it may not log in.
    #[serde(default)]
    pub disabled: bool,
    /// Whether it is being deleted.
    #[serde(default)]
    pub deleting: bool,
}

/// What is read of an account that comes into memory.
pub(crate) struct Everything {
    pub(crate) account: Account,
    pub(crate) roster: Roster,
    /// Offline messages.
    pub(crate) waiting: u64,
    /// The values of slots.
    pub(crate) loaded: Vec<Loaded>,
}

/// Why an act on an account was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is one already, or it is being deleted.
    #[error("the account {0} exists already")]
    Exists(BareJid),
    /// There is none.
    #[error("there is no account {0}")]
    Unknown(BareJid),
    /// Not an account's address of a served domain.
    #[error("{0} is not the address of an account here: it needs a name and a served domain")]
    Foreign(String),
    /// SASLprep refuses the password.
    #[error("the {0}")]
    Password(KeysError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] Fault),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl From<KeysError> for AccountError {
    fn from(error: KeysError) -> Self {
        Self::Password(error)
    }
}

/// The server's own secret: made once, kept for ever, so that what unknown users are answered does not change.
pub(crate) async fn secret(table: &Table, entropy: &dyn Entropy) -> Result<Vec<u8>, Fault> {
    const KEY: &[u8] = b"fake-keys";
    if let Some(secret) = table.get("", KEY).await? {
        return Ok(secret.to_vec());
    }
    let mut secret = vec![0; 32];
    entropy.fill(&mut secret);
    table.put("", KEY, secret.clone()).await?;
    Ok(secret)
}

impl Router {
    /// What is known of an account; none if there is none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn account(&self, of: &BareJid) -> Result<Option<Account>, Fault> {
        Ok(self.shapes().accounts.get(of.as_str(), ROW).await?.and_then(|row| read(of, &row)))
    }

    /// The generation of an account: a random number that is another one after the account was made, disabled or given a password. What was given
    /// out for one generation (credentials, sealed addresses) is void in all others. Zero where there is no account, or one from before there were
    /// generations.
    ///
    /// # Errors
    /// The store failed.
    pub async fn generation(&self, of: &BareJid) -> Result<u64, Fault> {
        let row = self.shapes().accounts.get(of.as_str(), GENERATION).await?;
        let bytes = row.and_then(|row| <[u8; 8]>::try_from(&row[..]).ok());
        Ok(bytes.map_or(0, u64::from_be_bytes))
    }

    /// Has an account begin a new generation.
    fn renew(&self, batch: &mut Batch, jid: &BareJid) {
        let mut generation = vec![0; 8];
        self.entropy().fill(&mut generation);
        batch.put(&self.shapes().accounts, jid.as_str(), GENERATION, generation);
    }

    /// An account with all that is kept in memory of it; none if there is none.
    pub(crate) async fn everything(&self, of: &BareJid) -> Result<Option<Everything>, Fault> {
        let (accounts, offline) = (self.shapes().accounts.clone(), self.shapes().offline.clone());
        let rosters = Roster::table(self.store());
        let loaders = self.points().loaders.clone();
        let looked = self.store().look(of.as_str(), move |look| {
            let Some(row) = look.get(&accounts, ROW)? else {
                return Ok(None);
            };
            let loaded = loaders.iter().map(|loader| loader.load(look)).collect::<Result<_, _>>()?;
            Ok(Some((row, Roster::rows(look, &rosters)?, look.count(&offline)?, loaded)))
        });
        Ok(looked.await?.and_then(|(row, rows, waiting, loaded)| {
            let roster = Roster::from_rows(of, rows);
            Some(Everything { account: read(of, &row)?, roster, waiting, loaded })
        }))
    }

    /// The accounts in the order of their addresses, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn accounts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(BareJid, Account)>, Fault> {
        let mut found = Vec::new();
        for owner in self.shapes().accounts.owners(after, limit).await? {
            if let Ok(jid) = BareJid::new(&owner)
                && let Some(account) = self.account(&jid).await?
            {
                found.push((jid, account));
            }
        }
        Ok(found)
    }

    fn of_ours(&self, jid: &BareJid) -> Result<(), AccountError> {
        if jid.local().is_some() && self.domain(jid.domain()).is_some() {
            Ok(())
        } else {
            Err(AccountError::Foreign(jid.to_string()))
        }
    }

    /// The keys of a password for every hash. Costs some ten milliseconds, off the reactor.
    async fn derive(self: &Arc<Self>, password: Zeroizing<String>) -> Result<Vec<Keys>, AccountError> {
        let router = Arc::clone(self);
        let derived = tokio::task::spawn_blocking(move || {
            let iterations = router.config().scram_iterations;
            let keys = |hash| Keys::generate(hash, &password, iterations, router.entropy());
            Hash::ALL.into_iter().map(keys).collect::<Result<Vec<_>, _>>()
        });
        Ok(derived.await.map_err(|_| AccountError::Stopping)??)
    }

    /// Makes an account. Done once this returns.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn add_account(
        self: &Arc<Self>,
        jid: &BareJid,
        password: Zeroizing<String>,
    ) -> Result<(), AccountError> {
        self.of_ours(jid)?;
        let account = Account { created: self.now(), disabled: false, deleting: false };
        let keys = self.derive(password).await?;
        let mut batch = self.store().batch();
        batch.check(&self.shapes().accounts, jid.as_str(), ROW, None);
        batch.put(&self.shapes().accounts, jid.as_str(), ROW, row(&account));
        self.renew(&mut batch, jid);
        for keys in &keys {
            let key = keys.hash().as_str().as_bytes();
            batch.put(&self.shapes().credentials, jid.as_str(), key, keys.to_text().as_bytes().to_vec());
        }
        match batch.commit().await {
            Ok(()) => {
                tracing::info!(account = %jid, "account added");
                Ok(())
            }
            Err(Fault::Conflict) => Err(AccountError::Exists(jid.clone())),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Sets a new password. Sessions go on; what was given out for logins elsewhere ([`Router::generation`]) is void.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn set_password(
        self: &Arc<Self>,
        jid: &BareJid,
        password: Zeroizing<String>,
    ) -> Result<(), AccountError> {
        self.of_ours(jid)?;
        let keys = self.derive(password).await?;
        let lane = self.lane(jid).await?.ok_or_else(|| AccountError::Unknown(jid.clone()))?;
        let stepped = lane.step(self, |step| {
            if step.account.gone {
                return Err(AccountError::Unknown(jid.clone()));
            }
            let mut batch = self.store().batch();
            for keys in &keys {
                let key = keys.hash().as_str().as_bytes();
                batch.put(&self.shapes().credentials, jid.as_str(), key, keys.to_text().as_bytes().to_vec());
            }
            self.renew(&mut batch, jid);
            step.commit(batch);
            step.fact(&PasswordChanged { account: jid.clone() });
            Ok(())
        });
        self.route_outbox(&lane).await;
        stepped.ticket.await?;
        stepped.value?;
        tracing::info!(account = %jid, "password changed");
        Ok(())
    }

    /// Forbids or allows an account to log in. Forbidding ends its sessions at once, also those that could be resumed. Returns how many
    /// ended, connections to what runs beside the router ([`Router::runs_beside`]) among them.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn set_disabled(
        self: &Arc<Self>,
        jid: &BareJid,
        disabled: bool,
    ) -> Result<usize, AccountError> {
        let lane = self.lane(jid).await?.ok_or_else(|| AccountError::Unknown(jid.clone()))?;
        let mut account = self.account(jid).await?.ok_or_else(|| AccountError::Unknown(jid.clone()))?;
        account.disabled = disabled;
        let stepped = lane.step(self, |step| {
            if step.account.gone {
                return Err(AccountError::Unknown(jid.clone()));
            }
            step.account.disabled = disabled;
            let mut batch = self.store().batch();
            batch.put(&self.shapes().accounts, jid.as_str(), ROW, row(&account));
            if disabled {
                self.renew(&mut batch, jid);
            }
            step.commit(batch);
            if !disabled {
                return Ok(0);
            }
            let sessions = end_all(step, "the account is disabled");
            step.fact(&AccountDisabled { account: jid.clone() });
            Ok(sessions + step.ended)
        });
        self.route_outbox(&lane).await;
        stepped.ticket.await?;
        let ended = stepped.value?;
        tracing::info!(account = %jid, disabled, ended, "account switched");
        Ok(ended)
    }

    /// Deletes an account and every trace of it: sessions end, contacts are told, all rows of its own go in one batch.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn delete_account(self: &Arc<Self>, jid: &BareJid) -> Result<(), AccountError> {
        let lane = self.lane(jid).await?.ok_or_else(|| AccountError::Unknown(jid.clone()))?;
        let account = Account { created: self.now(), disabled: true, deleting: true };
        let stepped = lane.step(self, |step| {
            if step.account.gone {
                return false;
            }
            step.account.disabled = true;
            let ticket = self.shapes().accounts.put(jid.as_str(), ROW, row(&account));
            step.wait(ticket);
            presence::removed(step);
            end_all(step, "the account was removed");
            step.account.gone = true;
            step.fact(&AccountRemoved { account: jid.clone() });
            true
        });
        self.route_outbox(&lane).await;
        stepped.ticket.await?;
        if !stepped.value {
            return Err(AccountError::Unknown(jid.clone()));
        }
        self.store().drop_owner(jid.as_str()).await?;
        self.unload(jid);
        tracing::info!(account = %jid, "account deleted");
        Ok(())
    }

    /// Finishes deletions that a dead process had begun.
    pub(crate) async fn finish_deletions(self: &Arc<Self>) -> Result<(), Fault> {
        let mut after: Option<String> = None;
        loop {
            let accounts = self.accounts(after.as_deref(), 1_000).await?;
            let Some((last, _)) = accounts.last() else { return Ok(()) };
            after = Some(last.to_string());
            for (jid, account) in &accounts {
                if account.deleting {
                    tracing::info!(account = %jid, "finishing the deletion of an account");
                    self.store().drop_owner(jid.as_str()).await?;
                }
            }
        }
    }

    /// The keys for an exchange, and whether they are anybody's. Unknown users get keys that no password fits, by the same reads and
    /// the same work.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn keys(&self, of: &BareJid, hash: Hash) -> Result<(Keys, bool), Fault> {
        let (accounts, credentials) = (self.shapes().accounts.clone(), self.shapes().credentials.clone());
        let looked = self.store().look(of.as_str(), move |look| {
            Ok((look.get(&accounts, ROW)?, look.get(&credentials, hash.as_str().as_bytes())?))
        });
        let (row, stored) = looked.await?;
        let account = row.and_then(|row| read(of, &row));
        let fake = Keys::fake(&self.secret, hash, of.as_str(), self.config().scram_iterations);
        let parsed = stored.and_then(|text| std::str::from_utf8(&text).ok()?.parse::<Keys>().ok());
        let usable = account.is_some_and(|account| !account.deleting);
        Ok(match parsed {
            Some(keys) if usable && keys.hash() == hash => (keys, true),
            _ => (fake, false),
        })
    }

    /// Whether a password is the account's. Unknown accounts cost as much as known ones.
    ///
    /// # Errors
    /// The store failed, or the server is stopping.
    pub async fn verify_password(
        &self,
        of: &BareJid,
        password: Zeroizing<String>,
    ) -> Result<bool, AccountError> {
        let (keys, known) = self.keys(of, Hash::Sha256).await?;
        let verify = tokio::task::spawn_blocking(move || keys.verify(&password));
        let fits = verify.await.map_err(|_| AccountError::Stopping)?;
        Ok(fits && known)
    }

    /// Whether a proven account may log in.
    ///
    /// # Errors
    /// The condition that the client is told.
    pub(crate) async fn may_login(self: &Arc<Self>, account: &BareJid) -> Result<(), SaslCondition> {
        // It is about to be bound, for which it has to be in memory anyway.
        match self.lane(account).await {
            Ok(Some(lane)) if lane.is_gone() => return Err(SaslCondition::NotAuthorized),
            Ok(Some(lane)) if lane.is_disabled() => return Err(SaslCondition::AccountDisabled),
            Ok(Some(_)) => {}
            Ok(None) => return Err(SaslCondition::NotAuthorized),
            Err(fault) => {
                tracing::error!(%account, %fault, "the store failed at a login");
                return Err(SaslCondition::TemporaryAuthFailure);
            }
        }
        match self.judge::<Login>(account) {
            LoginVerdict(None) => Ok(()),
            LoginVerdict(Some(condition)) => Err(condition),
        }
    }
}

fn read(of: &BareJid, row: &[u8]) -> Option<Account> {
    serde_json::from_slice(row)
        .inspect_err(|why| tracing::error!(account = %of, %why, "an account's row cannot be read"))
        .ok()
}

fn row(account: &Account) -> Vec<u8> {
    serde_json::to_vec(account).unwrap_or_default()
}

fn end_all(step: &mut Step<'_>, why: &str) -> usize {
    let sessions: Vec<_> = step.account.sessions.iter().map(crate::lane::SessionState::id).collect();
    for session in &sessions {
        let error = StreamError::new(StreamCondition::NotAuthorized).with_text(why);
        step.end(*session, Some(error));
    }
    sessions.len()
}
