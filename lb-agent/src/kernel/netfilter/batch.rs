//! A transaction of nf_tables as bytes.

use std::ffi::CStr;
use std::net::SocketAddr;

use netlink_bindings::nftables::{Chained, Nfgenmsg, SetFlags};

use super::element::{Data, Family, key};
use super::map_shape::{KEYS_IN_HOST_ORDER, MapShape};
use super::names::{COMMENT, TABLE};
use super::part::Part;
use super::ruleset::{Chain, Rule};

/// NFNL_SUBSYS_NFTABLES, the resource id of a batch.
const NFTABLES: u16 = 10;

/// NFTNL_UDATA_TABLE_COMMENT: the tag by which `nft` finds the comment in the user data of a table.
const COMMENT_TAG: u8 = 0;

/// NFPROTO_INET.
const INET: u8 = 1;

/// NF_ACCEPT, the policy of our chains.
const ACCEPT: u32 = 1;

/// The length of the attribute that holds elements has 16 bits; an element has up to 48 bytes.
const ELEMENTS_PER_MESSAGE: usize = 1_000;

/// Changes that take effect together.
#[derive(Debug)]
pub struct Batch {
    messages: Chained<'static>,
    /// What each message is about; the first one only begins the batch.
    parts: Vec<Part>,
}

impl Batch {
    /// `first`: the sequence number of the first message. `generation`: the kernel refuses the batch with ERESTART if the
    /// tables are of another one.
    pub fn new(first: u32, generation: Option<u32>) -> Self {
        let mut messages = Chained::new(first);
        let mut begin = messages.request().op_batch_begin_do(&batch_header());
        if let Some(generation) = generation {
            begin.encode().push_genid(generation);
        }
        Self {
            messages,
            parts: vec![Part::Table],
        }
    }

    /// Ends it. Returns its bytes and what each message is about.
    pub fn finish(mut self) -> (Vec<u8>, Vec<Part>) {
        self.messages.request().op_batch_end_do(&batch_header());
        self.parts.push(Part::Table);
        let bytes = self.messages.finalize().into_chained().into_buf();
        (bytes, self.parts)
    }

    pub fn add_table(&mut self) {
        self.parts.push(Part::Table);
        let mut request = self.messages.request().set_create().op_newtable_do(&inet());
        request
            .encode()
            .push_name(TABLE)
            .push_flags(0)
            .push_userdata(&comment());
    }

    /// With all that is in it.
    pub fn delete_table(&mut self) {
        self.parts.push(Part::Table);
        let mut request = self.messages.request().op_deltable_do(&inet());
        request.encode().push_name(TABLE);
    }

    pub fn add_map(&mut self, shape: &MapShape) {
        self.parts.push(map(shape.name));
        // The kernel wants a number for each new map of a batch.
        let id = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let mut request = self.messages.request().set_create().op_newset_do(&inet());
        request
            .encode()
            .push_table(TABLE)
            .push_name(shape.name)
            .push_flags(SetFlags::Map as u32)
            .push_key_type(shape.key_type)
            .push_key_len(MapShape::KEY_LENGTH)
            .push_data_type(shape.data_type)
            .push_data_len(shape.data_length)
            .push_id(id)
            .nested_desc()
            .push_size(shape.size)
            .end_nested()
            .push_userdata(&KEYS_IN_HOST_ORDER);
    }

    pub fn add_chain(&mut self, chain: &Chain) {
        self.parts.push(named(chain.name));
        let mut request = self.messages.request().set_create().op_newchain_do(&inet());
        request
            .encode()
            .push_table(TABLE)
            .push_name(chain.name)
            .nested_hook()
            .push_num(chain.hook)
            .push_priority(chain.priority)
            .end_nested()
            .push_policy(ACCEPT)
            .push_type(chain.kind);
    }

    pub fn delete_chain(&mut self, name: &CStr) {
        self.parts.push(named(name));
        let mut request = self.messages.request().op_delchain_do(&inet());
        request.encode().push_table(TABLE).push_name(name);
    }

    pub fn add_rules(&mut self, chain: &Chain) {
        for rule in &chain.rules {
            self.add_rule(chain.name, rule);
        }
    }

    fn add_rule(&mut self, chain: &CStr, rule: &Rule) {
        self.parts.push(named(chain));
        let mut request = self
            .messages
            .request()
            .set_create()
            .set_append()
            .op_newrule_do(&inet());
        let list = request
            .encode()
            .push_table(TABLE)
            .push_chain(chain)
            .nested_expressions();
        let push = |list, expression: &super::expression::Expression| expression.push(list);
        drop(rule.expressions.iter().fold(list, push));
    }

    pub fn delete_rules(&mut self, chain: &CStr) {
        self.parts.push(named(chain));
        let mut request = self.messages.request().op_delrule_do(&inet());
        request.encode().push_table(TABLE).push_chain(chain);
    }

    /// `elements`: of one family.
    pub fn add_elements(&mut self, family: Family, elements: &[(u32, SocketAddr)]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.parts.push(Part::Elements);
            let request = self.messages.request().set_create();
            let mut request = request.op_newsetelem_do(&inet());
            let mut list = request
                .encode()
                .push_table(TABLE)
                .push_set(MapShape::of(family, 0).name)
                .nested_elements();
            for &(id, address) in chunk {
                list = list
                    .nested_elem()
                    .nested_key()
                    .push_value(&key(id))
                    .end_nested()
                    .nested_data()
                    .push_value(Data::of(address).bytes())
                    .end_nested()
                    .end_nested();
            }
        }
    }

    pub fn delete_elements(&mut self, family: Family, ids: &[u32]) {
        for chunk in ids.chunks(ELEMENTS_PER_MESSAGE) {
            self.parts.push(Part::Elements);
            let mut request = self.messages.request().op_delsetelem_do(&inet());
            let mut list = request
                .encode()
                .push_table(TABLE)
                .push_set(MapShape::of(family, 0).name)
                .nested_elements();
            for &id in chunk {
                list = list
                    .nested_elem()
                    .nested_key()
                    .push_value(&key(id))
                    .end_nested()
                    .end_nested();
            }
        }
    }
}

/// The header of a message about our table.
pub fn inet() -> Nfgenmsg {
    Nfgenmsg {
        nfgen_family: INET,
        ..Nfgenmsg::new()
    }
}

fn batch_header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.set_res_id(NFTABLES);
    header
}

/// The user data of our table: a tag, a length, and the comment with its end.
pub fn comment() -> Vec<u8> {
    let text = COMMENT.to_bytes_with_nul();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![COMMENT_TAG, length];
    bytes.extend_from_slice(text);
    bytes
}

fn named(chain: &CStr) -> Part {
    Part::Chain(chain.to_string_lossy().into_owned())
}

fn map(name: &CStr) -> Part {
    Part::Map(name.to_string_lossy().into_owned())
}
