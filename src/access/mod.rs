//! The gate: who a request comes from (XEP-0070) and what they may do (XEP-0060).
