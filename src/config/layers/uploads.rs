//! The settings of uploads by slot.

use super::{endpoint, quota};
use crate::config::settings::{self as s, TypedSetting};
use crate::config::types::Time;
use crate::config::values::Values;
use crate::error::{Error, Result};
use crate::http::target::is_loopback;
use crate::uploads::{External, JidRule, Keep, Settings, UploadQuotas};

pub(super) fn settings(values: &Values<'_>) -> Result<Settings> {
    let size_limit = values.get(&s::UPLOAD_SIZELIMIT)?;
    let servername = values.need(&s::XMPP_COMPONENT_SERVERNAME)?;
    let own = || vec![JidRule::Domain(servername.domain().to_owned())];
    Ok(Settings {
        enabled: values.need(&s::UPLOAD_ENABLED)?,
        endpoint: upload_endpoint(values)?,
        size_limit: size_limit.map_or_else(|| values.need(&s::MEDIA_SIZELIMIT), Ok)?,
        keep: keep(values)?,
        allow: values.get(&s::UPLOAD_ALLOW)?.unwrap_or_else(own),
        deny: values.get(&s::UPLOAD_DENY)?.unwrap_or_default(),
        quotas: upload_quotas(values)?,
        makes_room: values.need(&s::UPLOAD_QUOTA_MAKES_ROOM)?,
        purpose_prefixes: values.need(&s::UPLOAD_PURPOSE_PREFIXES)?,
        external: external(values)?,
        to_disk_threshold: values.need(&s::MEDIA_TODISK_THRESHOLD)?,
        cache_max_age: values.need(&s::CACHE_MAX_AGE)?,
    })
}

/// Clients accept only slots with https URLs; on loopback, TLS is not needed.
fn upload_endpoint(values: &Values<'_>) -> Result<String> {
    let endpoint = endpoint(values)?.unwrap_or_default();
    if values.need(&s::UPLOAD_ENABLED)? && !endpoint.starts_with("https://") && !is_loopback(&endpoint) {
        let what = "upload.enabled needs an https:// URL here, for XMPP clients accept no other";
        return Err(values.wrong(s::HTTP_ENDPOINT.key, what));
    }
    Ok(endpoint)
}

fn keep(values: &Values<'_>) -> Result<Keep> {
    let time = |setting: &TypedSetting<Time>| {
        let time = values.need(setting)?;
        Ok::<_, Error>(Some(time).filter(|time| !time.is_zero()))
    };
    Ok(Keep {
        message: time(&s::UPLOAD_KEEP_MESSAGE)?,
        profile: time(&s::UPLOAD_KEEP_PROFILE)?,
        ephemeral: time(&s::UPLOAD_KEEP_EPHEMERAL)?,
        permanent: time(&s::UPLOAD_KEEP_PERMANENT)?,
    })
}

fn upload_quotas(values: &Values<'_>) -> Result<UploadQuotas> {
    Ok(UploadQuotas {
        user: quota(values, &s::UPLOAD_QUOTA_USER)?,
        day: quota(values, &s::UPLOAD_QUOTA_DAY)?,
        message: quota(values, &s::UPLOAD_QUOTA_MESSAGE)?,
        profile: quota(values, &s::UPLOAD_QUOTA_PROFILE)?,
        ephemeral: quota(values, &s::UPLOAD_QUOTA_EPHEMERAL)?,
        permanent: quota(values, &s::UPLOAD_QUOTA_PERMANENT)?,
        all: quota(values, &s::UPLOAD_QUOTA_ALL)?,
    })
}

/// The secret and the protocol belong together.
fn external(values: &Values<'_>) -> Result<Option<External>> {
    match (values.get(&s::UPLOAD_EXTERNAL_SECRET)?, values.get(&s::UPLOAD_EXTERNAL_PROTOCOL)?) {
        (Some(secret), Some(protocol)) => Ok(Some(External { secret, protocol })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(values.wrong(s::UPLOAD_EXTERNAL_PROTOCOL.key, "missing beside upload.external.secret"))
        }
        (None, Some(_)) => {
            Err(values.wrong(s::UPLOAD_EXTERNAL_SECRET.key, "missing beside upload.external.protocol"))
        }
    }
}
