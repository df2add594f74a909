//! The configuration: settings table, properties files, JDBC URLs.
