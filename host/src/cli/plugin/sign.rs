//! `tidegate plugin keygen|sign|verify`: signatures of plugins.

use std::path::{Path, PathBuf};

use clap::Args;
use semver::Version;
use serde_json::{Value, json};

use crate::cli::{Global, OutputFormat, print, print_json, say};
use crate::clock::{Now, day, utc};
use crate::exit::Exit;
use crate::file;
use crate::message::short_digest;
use crate::trust::keys::{Password, generate, manifest, sign};
use crate::trust::{Denied, KeyError, Seal, Trust, VerifyingKey, read_signature, signature_path};
use crate::words::with_causes;

const KEYGEN_EXAMPLES: &str = "\
Examples:
  tidegate plugin keygen                      tidegate.key, to be kept, and tidegate.pub, for the gateways
  tidegate plugin keygen -n ops --no-password for a build machine: whoever reads ops.key can sign

In the config of the gateways: plugin_keys = [\"tidegate.pub\"]";

const SIGN_EXAMPLES: &str = "\
Examples:
  tidegate plugin sign rule.wasm --key tidegate.key --version 1.2.0
  tidegate plugin sign rule.wasm --key ops.key --name alarm --version 1.2.0 --expires 2027-06-30

Makes rule.wasm.minisig, which belongs beside the component; minisign reads it too.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  tidegate plugin verify rule.wasm --key tidegate.pub
  tidegate plugin verify rule.wasm --key tidegate.pub -o json | jq -r .version

Ends with 0 when the signature is good, with 4 when it is not.";

/// Arguments of `tidegate plugin keygen`.
#[derive(Debug, Args)]
#[command(after_help = KEYGEN_EXAMPLES)]
pub struct Keygen {
    /// Name of the files, without .key and .pub.
    #[arg(short = 'n', long, value_name = "PATH", default_value = "tidegate")]
    name: PathBuf,
    #[command(flatten)]
    password: PasswordArguments,
}

/// Arguments of `tidegate plugin sign`.
#[derive(Debug, Args)]
#[command(after_help = SIGN_EXAMPLES)]
pub struct Sign {
    /// The component.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// The secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The plugin's name in the configs. Default: name of the file.
    #[arg(long)]
    name: Option<String>,
    /// Its version, as in 1.2.0.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Version,
    /// The last day on which a gateway lets it in (UTC), as in 2027-06-30. Default: it stays good.
    #[arg(long, value_name = "DAY", value_parser = last_day)]
    expires: Option<u64>,
    #[command(flatten)]
    password: PasswordArguments,
}

/// Arguments of `tidegate plugin verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// The component.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// A public key; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The signature. Default: beside the component.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PasswordArguments {
    /// The secret key's password is the first line of this file. Default: it is asked for.
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// The secret key has no password.
    #[arg(long)]
    no_password: bool,
}

impl PasswordArguments {
    fn password(self) -> Password {
        match (self.no_password, self.password_file) {
            (true, _) => Password::None,
            (false, Some(path)) => Password::File(path),
            (false, None) => Password::Ask,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("`{}`: {source}", path.display())]
    InFile { path: PathBuf, source: KeyError },
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is not good: {source}", path.display())]
    Denied { path: PathBuf, source: Denied },
    #[error("`{}` is not there: the component is not signed, or its signature lies elsewhere (--signature)", .0.display())]
    NoSignature(PathBuf),
    #[error("`{}` gives no name for the plugin: use --name", .0.display())]
    NoName(PathBuf),
    #[error("a plugin's name has no spaces, and `{0}` has")]
    BadName(String),
}

impl SignError {
    fn exit(&self) -> Exit {
        if matches!(self, Self::Denied { .. } | Self::NoSignature(_)) {
            Exit::Plugin
        } else {
            Exit::Failed
        }
    }
}

/// Makes a pair of keys.
pub fn keygen(global: &Global, arguments: Keygen) -> Exit {
    let made = generate(&arguments.name, &arguments.password.password()).map_err(SignError::from);
    answer(global, made, |pair| {
        let secret = pair.secret.display();
        let public = pair.public.display();
        let text = format!(
            "{secret}  keep it: who has it can sign\n{public}  for the gateways: plugin_keys = [\"{public}\"]"
        );
        (
            text,
            json!({ "secret": pair.secret, "public": pair.public, "id": pair.id, "key": pair.line }),
        )
    })
}

pub fn sign_component(global: &Global, arguments: Sign) -> Exit {
    if let Some(end) = past(arguments.expires) {
        let end = utc(end);
        say(&format!(
            "warning: a signature that expired on {end} is refused by every gateway: name a later day with --expires"
        ));
    }
    answer(global, signed(arguments), |path| {
        (path.display().to_string(), json!({ "signature": path }))
    })
}

/// Says whose signature a component has.
pub fn verify(global: &Global, arguments: &Verify) -> Exit {
    answer(global, verified(arguments), |(digest, seal)| {
        let Seal { key, manifest } = seal;
        let expires = manifest.expires_us.map(utc);
        let until = expires
            .as_ref()
            .map_or_else(String::new, |end| format!(", good until {end}"));
        let text = format!(
            "{} {}  {}  signed by {key}{until}",
            manifest.name,
            manifest.version,
            short_digest(digest)
        );
        let shown = json!({ "name": manifest.name, "version": manifest.version.to_string(), "digest": digest, "key": key, "expires": expires });
        (text, shown)
    })
}

fn signed(arguments: Sign) -> Result<PathBuf, SignError> {
    let Sign {
        component,
        key,
        name,
        version,
        expires,
        password,
    } = arguments;
    let stem = || {
        component
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let name = name
        .or_else(stem)
        .ok_or_else(|| SignError::NoName(component.clone()))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(SignError::BadName(name));
    }
    Ok(sign(
        &component,
        &key,
        &password.password(),
        manifest(name, version, expires),
    )?)
}

fn verified(arguments: &Verify) -> Result<(String, Seal), SignError> {
    let key = |path: &PathBuf| {
        let text = file::read_text(path, file::BY_HAND).map_err(in_file(path))?;
        VerifyingKey::parse(&text).map_err(|source| SignError::InFile {
            path: path.clone(),
            source,
        })
    };
    let trust = Trust {
        keys: arguments.key.iter().map(key).collect::<Result<_, _>>()?,
        missing: [].into(),
        required: true,
    };
    let component =
        file::read(&arguments.component, file::COMPONENT).map_err(in_file(&arguments.component))?;
    let path = arguments
        .signature
        .clone()
        .unwrap_or_else(|| signature_path(&arguments.component));
    let signature = read_signature(&path).map_err(in_file(&path))?;
    let signature = signature.ok_or_else(|| SignError::NoSignature(path))?;
    let seal = trust
        .seal(&component, &signature)
        .map_err(|source| SignError::Denied {
            path: arguments.component.clone(),
            source,
        })?;
    if let Some(expired_us) = past(seal.manifest.expires_us) {
        return Err(SignError::Denied {
            path: arguments.component.clone(),
            source: Denied::Expired { expired_us },
        });
    }
    Ok((crate::trust::digest(&component), seal))
}

/// That end of a signature, if it is over.
fn past(expires_us: Option<u64>) -> Option<u64> {
    let now = Now::read();
    expires_us.filter(|end| now.is_set() && *end <= now.wall.0)
}

fn in_file(path: &Path) -> impl FnOnce(std::io::Error) -> SignError {
    |source| SignError::Read {
        path: path.to_owned(),
        source,
    }
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| format!("{error}; write a version as in 1.2.0"))
}

fn last_day(text: &str) -> Result<u64, String> {
    day(text).ok_or_else(|| "write a day as in 2027-06-30".to_owned())
}

fn answer<T>(
    global: &Global,
    result: Result<T, SignError>,
    show: impl FnOnce(&T) -> (String, Value),
) -> Exit {
    match result {
        Ok(value) => {
            let (text, json) = show(&value);
            match global.output {
                OutputFormat::Text => print(&text),
                OutputFormat::Json => print_json(&json),
            }
            Exit::Done
        }
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            error.exit()
        }
    }
}
