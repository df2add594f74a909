//! The pubsub nodes of channels: their names, by the domain of the channel.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::Channel;

/// How the nodes of channels are named. Without a rule for a channel's domain it is `/user/CHANNEL/posts`, as buddycloud has
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNames(BTreeMap<String, NodeName>);

/// A node's name with places in it: `{local}`, `{domain}` and `{channel}`, of which it has `{local}` or `{channel}`.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeName(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Local,
    Domain,
    Channel,
}

/// The text is not the name of a node, or the same for all channels of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNameError;

impl NodeNames {
    /// Names the nodes of this domain's channels, in prepared form; `false` if they have a name already.
    pub fn add(&mut self, domain: String, name: NodeName) -> bool {
        self.0.insert(domain, name).is_none()
    }

    /// The node of a channel. Its affiliations and access model are the channel's.
    pub fn node(&self, channel: &Channel) -> String {
        match self.0.get(channel.domain()) {
            Some(name) => name.filled(channel),
            None => format!("/user/{channel}/posts"),
        }
    }

    /// The channel of a node at the channel service of this domain, if it is one's.
    pub fn channel(&self, domain: &str, node: &str) -> Option<Channel> {
        let channel = match self.0.get(domain) {
            Some(name) => name.channel(domain, node),
            None => node.strip_prefix("/user/")?.strip_suffix("/posts")?.parse().ok(),
        };
        channel.filter(|channel| self.node(channel) == node)
    }
}

impl NodeName {
    fn filled(&self, channel: &Channel) -> String {
        let local = channel.jid().local().unwrap_or_default();
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Local => local,
            Part::Domain => channel.domain(),
            Part::Channel => channel.as_str(),
        });
        parts.collect()
    }

    /// The channel whose node this may be.
    fn channel(&self, domain: &str, node: &str) -> Option<Channel> {
        let place = self.0.iter().position(|part| matches!(part, Part::Local | Part::Channel))?;
        let text = |parts: &[Part]| -> Option<String> {
            let texts = parts.iter().map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Domain => Some(domain),
                Part::Local | Part::Channel => None,
            });
            texts.collect()
        };
        let (before, after) = (text(&self.0[..place])?, text(&self.0[place + 1..])?);
        let middle = node.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        let address =
            if self.0[place] == Part::Local { format!("{middle}@{domain}") } else { middle.to_owned() };
        address.parse().ok()
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or(NodeNameError)?;
            parts.extend(Part::text(before)?);
            parts.push(match name {
                "local" => Part::Local,
                "domain" => Part::Domain,
                "channel" => Part::Channel,
                _ => return Err(NodeNameError),
            });
            rest = after;
        }
        parts.extend(Part::text(rest)?);
        let tells = parts.iter().any(|part| matches!(part, Part::Local | Part::Channel));
        if tells { Ok(Self(parts)) } else { Err(NodeNameError) }
    }
}

impl Part {
    fn text(text: &str) -> Result<Option<Self>, NodeNameError> {
        if text.chars().any(|c| c == '}' || c.is_control()) {
            return Err(NodeNameError);
        }
        Ok((!text.is_empty()).then(|| Self::Text(text.to_owned())))
    }
}

/// As it is written.
impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Local => f.write_str("{local}"),
            Part::Domain => f.write_str("{domain}"),
            Part::Channel => f.write_str("{channel}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(domain: &str, name: &str) -> NodeNames {
        let mut names = NodeNames::default();
        assert!(names.add(domain.to_owned(), name.parse().unwrap()));
        names
    }

    #[test]
    fn a_channel_leads_to_its_node_and_back() {
        for (name, channel, node) in [
            ("{local}", "cats@pubsub.example.com", "cats"),
            ("{local}", "{domain}@pubsub.example.com", "{domain}"),
            ("blog/{local}", "cats@pubsub.example.com", "blog/cats"),
            ("{local}.{domain}/x y", "cats@pubsub.example.com", "cats.pubsub.example.com/x y"),
            ("/user/{channel}/posts", "cats@pubsub.example.com", "/user/cats@pubsub.example.com/posts"),
            ("{local}", "cats@example.com", "/user/cats@example.com/posts"),
        ] {
            let names = names("pubsub.example.com", name);
            let channel: Channel = channel.parse().unwrap();
            assert_eq!(names.node(&channel), node, "{name}");
            assert_eq!(names.channel(channel.domain(), node), Some(channel), "{name}");
        }
    }

    #[test]
    fn a_node_that_is_not_of_a_channel_gives_no_channel() {
        let domain = "pubsub.example.com";
        for (name, node) in [
            ("{local}", "Cats"),
            ("{local}", "a b"),
            ("{local}", ""),
            ("blog/{local}", "cats"),
            ("blog/{local}", "blog/"),
            ("{channel}", "cats@elsewhere.example"),
            ("{local}/{local}", "cats/cats"),
        ] {
            assert_eq!(names(domain, name).channel(domain, node), None, "{name} {node}");
        }
        for node in ["/user/room@example.com/status", "other", "/user/no channel/posts"] {
            assert_eq!(NodeNames::default().channel("example.com", node), None, "{node}");
        }
    }

    #[test]
    fn a_name_must_tell_channels_apart() {
        for name in ["", "posts", "{domain}", "{local", "local}", "{}", "{user}", "{local}}", "{local}\n"] {
            assert_eq!(name.parse::<NodeName>(), Err(NodeNameError), "{name:?}");
        }
        for name in ["{local}", "{channel}", "a{local}b{domain}"] {
            assert_eq!(format!("{:?}", name.parse::<NodeName>().unwrap()), name);
        }
    }
}
