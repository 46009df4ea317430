//! The filter's program.
//!
//! It lets every message through. For an exit message it stores the cgroup of `current`, the exiting
//! task, in the slot of the message's sequence number. Sequence numbers are counted by CPU, and each
//! CPU has its own socket, program and memory.
//!
//! A slot is written only within a window that begins at the sequence the agent expects next and is as
//! long as the slots are many. So a slot whose message still waits in the socket is never overwritten,
//! not even while the kernel drops messages because the receive buffer is full.

use super::assembler::{Assembler, Condition, Instruction, Label, Operation, Register, Width};
use super::btf::Offsets;
use super::layout::{COUNT_PROBES, COUNTS, Layout, SPILL, V1_BIT};

use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};

/// `BPF_FUNC_map_lookup_elem` (`include/uapi/linux/bpf.h`), as the other helpers.
const MAP_LOOKUP: i32 = 1;
/// `BPF_FUNC_skb_load_bytes`.
const LOAD_BYTES: i32 = 26;
/// `BPF_FUNC_get_current_task`.
const CURRENT_TASK: i32 = 35;
/// `BPF_FUNC_get_current_cgroup_id`; for socket filters since Linux 6.4.
const CURRENT_CGROUP: i32 = 80;
/// `BPF_FUNC_probe_read_kernel`.
const READ_KERNEL: i32 = 113;
/// `BPF_FUNC_ktime_get_boot_ns`.
const BOOT_TIME: i32 = 125;

/// The return value that keeps the whole message.
const KEEP: i32 = -1;

/// The start of a message: `nlmsghdr` (16), `genlmsghdr` (4), the nest's and the pid's attribute
/// headers (4 each), the pid (4).
const START_BYTES: i32 = 32;
/// Offsets into it.
const SEQUENCE: i16 = 8;
const COMMAND: i16 = 16;
const NEST: i16 = 20;
const PID: i16 = 28;
/// `TASKSTATS_CMD_NEW` in the low byte of the command and version.
const COMMAND_NEW: i32 = 2;
/// `TASKSTATS_TYPE_AGGR_PID` in the upper half of the nest's header.
const AGGREGATE_PID: i32 = 4;

// The stack, below the frame pointer.
/// The start of the message.
const START: i16 = -32;
/// An element's index, the key of a lookup.
const KEY: i16 = -36;
/// The hash of the cgroup.
const HASH: i16 = -40;
/// Pointers and numbers read from the kernel.
const READ: i16 = -48;
const LEVEL: i16 = -56;
const V2_ID: i16 = -64;
const CSS_SET: i16 = -72;

/// Multiplier of a multiplicative hash (2³² divided by the golden ratio).
const HASH_MULTIPLIER: u32 = 0x9e37_79b1;
/// Bits of a 32-bit hash that remain: as many as [`COUNTS`] needs.
const HASH_SHIFT: u32 = 32 - COUNTS.trailing_zeros();

const KEEP_ALL: Label = Label::new("keep all");
const OUTSIDE: Label = Label::new("outside the window");
const ANCHORED: Label = Label::new("anchored");
const STORE: Label = Label::new("store");

/// How the program finds the cgroup of the exiting task.
#[derive(Clone, Copy, Debug)]
pub(super) enum CgroupSource {
    /// `bpf_get_current_cgroup_id`: the cgroup v2.
    Helper,
    /// Reads of kernel memory: the cgroup v2, or that of a v1 hierarchy if it is deeper.
    Offsets(Offsets),
}

/// Assembles the program for the map `descriptor`.
pub(super) fn assemble(
    layout: Layout,
    source: CgroupSource,
    descriptor: i32,
) -> Option<Vec<Instruction>> {
    let mut program = Program { assembler: Assembler::default(), layout, descriptor };
    program.read_start();
    match source {
        CgroupSource::Helper => program.cgroup_by_helper(),
        CgroupSource::Offsets(offsets) => program.cgroup_by_offsets(&offsets),
    }
    program.choose_slot();
    program.count_outside();
    program.store();
    program.assembler.label(KEEP_ALL);
    program.assembler.immediate(Operation::Move, R0, KEEP);
    program.assembler.exit();
    program.assembler.finish()
}

struct Program {
    assembler: Assembler,
    layout: Layout,
    descriptor: i32,
}

impl Program {
    /// Leaves the sequence in `R7` and the context in `R6`. Anything but an exit message, such as the
    /// acknowledgement of a registration, is let through.
    fn read_start(&mut self) {
        let to = &mut self.assembler;
        to.register(Operation::Move, R6, R1);
        to.immediate(Operation::Move, R2, 0);
        to.register(Operation::Move, R3, R10);
        to.immediate(Operation::Add, R3, START.into());
        to.immediate(Operation::Move, R4, START_BYTES);
        to.call(LOAD_BYTES);
        to.jump_if(Condition::Different, R0, 0, KEEP_ALL);
        to.load(Width::Half, R1, R10, START + COMMAND);
        to.immediate(Operation::And, R1, 0xff);
        to.jump_if(Condition::Different, R1, COMMAND_NEW, KEEP_ALL);
        to.load(Width::Half, R1, R10, START + NEST + 2);
        to.jump_if(Condition::Different, R1, AGGREGATE_PID, KEEP_ALL);
        to.load(Width::Word, R7, R10, START + SEQUENCE);
    }

    /// Leaves the cgroup's id in `R9`.
    fn cgroup_by_helper(&mut self) {
        let to = &mut self.assembler;
        to.call(CURRENT_CGROUP);
        to.register(Operation::Move, R9, R0);
        to.jump_if(Condition::Equal, R9, 0, KEEP_ALL);
    }

    /// Leaves the id of the deeper cgroup in `R9`, marked with [`V1_BIT`] if it is of a v1 hierarchy.
    fn cgroup_by_offsets(&mut self, offsets: &Offsets) {
        self.assembler.call(CURRENT_TASK);
        self.read(R0, offsets.task_cgroups, 8, CSS_SET);
        self.assembler.load(Width::Double, R0, R10, CSS_SET);
        self.read(R0, offsets.css_set_default_cgroup, 8, READ);
        self.read_cgroup(offsets, R8);
        self.assembler.load(Width::Double, R9, R10, READ);
        let Some(css) = offsets.css_set_v1_css else {
            self.assembler.jump_if(Condition::Equal, R9, 0, KEEP_ALL);
            return;
        };
        self.assembler.store(Width::Double, R10, V2_ID, R9);
        self.assembler.load(Width::Double, R0, R10, CSS_SET);
        self.read(R0, css, 8, READ);
        self.assembler.load(Width::Double, R0, R10, READ);
        self.read(R0, offsets.css_cgroup, 8, READ);
        self.read_cgroup(offsets, R9);
        let deeper = Label::new("the v2 cgroup is as deep");
        let chosen = Label::new("chosen");
        let to = &mut self.assembler;
        to.jump_if_registers(Condition::GreaterOrEqual, R8, R9, deeper);
        to.load(Width::Double, R9, R10, READ);
        to.constant(R1, V1_BIT);
        to.register(Operation::Or, R9, R1);
        to.jump(chosen);
        to.label(deeper);
        to.load(Width::Double, R9, R10, V2_ID);
        to.label(chosen);
        to.jump_if(Condition::Equal, R9, 0, KEEP_ALL);
    }

    /// From the address of a `struct cgroup` at [`READ`]: its level in `level`, its id at [`READ`].
    fn read_cgroup(&mut self, offsets: &Offsets, level: Register) {
        self.assembler.load(Width::Double, R0, R10, READ);
        self.read(R0, offsets.cgroup_level, 4, LEVEL);
        self.assembler.load(Width::Word, level, R10, LEVEL);
        self.assembler.load(Width::Double, R0, R10, READ);
        self.read(R0, offsets.cgroup_kn, 8, READ);
        self.assembler.load(Width::Double, R0, R10, READ);
        self.read(R0, offsets.kn_id, 8, READ);
    }

    /// Reads `bytes` at `base + offset` of kernel memory to the stack.
    fn read(&mut self, base: Register, offset: u32, bytes: i32, to: i16) {
        let assembler = &mut self.assembler;
        assembler.register(Operation::Move, R3, base);
        assembler.immediate(Operation::Add, R3, i32::try_from(offset).unwrap_or(0));
        assembler.register(Operation::Move, R1, R10);
        assembler.immediate(Operation::Add, R1, to.into());
        assembler.immediate(Operation::Move, R2, bytes);
        assembler.call(READ_KERNEL);
        assembler.jump_if(Condition::Different, R0, 0, KEEP_ALL);
    }

    /// Leaves the address of the element whose index is at [`KEY`] in `R0`.
    fn look_up(&mut self) {
        let to = &mut self.assembler;
        to.map(R1, self.descriptor);
        to.register(Operation::Move, R2, R10);
        to.immediate(Operation::Add, R2, KEY.into());
        to.call(MAP_LOOKUP);
        to.jump_if(Condition::Equal, R0, 0, KEEP_ALL);
    }

    /// Leaves the slot's number in `R8`.
    fn choose_slot(&mut self) {
        self.assembler.store_immediate(Width::Word, R10, KEY, 0);
        self.look_up();
        let to = &mut self.assembler;
        to.load(Width::Word, R2, R0, 4);
        to.jump_if(Condition::Different, R2, 0, ANCHORED);
        // The first message: the window begins here.
        to.store(Width::Word, R0, 0, R7);
        to.store_immediate(Width::Word, R0, 4, 1);
        to.label(ANCHORED);
        to.load(Width::Word, R1, R0, 0);
        to.register_32(Operation::Move, R8, R7);
        to.register_32(Operation::Subtract, R8, R1);
        to.jump_if_32(Condition::GreaterOrEqual, R8, self.layout.slots, OUTSIDE);
        to.register_32(Operation::Move, R8, R7);
        to.immediate_32(Operation::Remainder, R8, self.layout.slots);
        to.jump(STORE);
    }

    /// Counts an exit outside the window by its cgroup, and chooses a slot of the spill.
    fn count_outside(&mut self) {
        let to = &mut self.assembler;
        to.label(OUTSIDE);
        to.register_32(Operation::Move, R8, R7);
        to.immediate_32(Operation::And, R8, SPILL - 1);
        to.immediate_32(Operation::Add, R8, self.layout.slots);
        to.register_32(Operation::Move, R1, R9);
        to.immediate_32(Operation::Multiply, R1, HASH_MULTIPLIER);
        to.immediate_32(Operation::ShiftRight, R1, HASH_SHIFT);
        to.store(Width::Word, R10, HASH, R1);
        for round in 0..COUNT_PROBES {
            self.count_at(round);
        }
    }

    /// Counts at one entry of the table, if it is the cgroup's or free.
    fn count_at(&mut self, round: u32) {
        let add = Label::of_round("add", round);
        let next = Label::of_round("next entry", round);
        let to = &mut self.assembler;
        to.load(Width::Word, R1, R10, HASH);
        to.immediate_32(Operation::Add, R1, round);
        to.immediate_32(Operation::And, R1, COUNTS - 1);
        to.immediate_32(Operation::Add, R1, self.layout.first_count());
        to.store(Width::Word, R10, KEY, R1);
        self.look_up();
        let to = &mut self.assembler;
        to.load(Width::Double, R1, R0, 0);
        to.jump_if_registers(Condition::Equal, R1, R9, add);
        to.jump_if(Condition::Different, R1, 0, next);
        to.store(Width::Double, R0, 0, R9);
        to.label(add);
        to.immediate(Operation::Move, R1, 1);
        to.atomic_add(R0, 8, R1);
        to.jump(STORE);
        to.label(next);
    }

    /// Stores the end, the cgroup and, last, what identifies the exit.
    fn store(&mut self) {
        let (first_slot, first_end) = (self.layout.first_slot(), self.layout.first_end());
        let to = &mut self.assembler;
        to.label(STORE);
        to.register_32(Operation::Move, R1, R8);
        to.immediate_32(Operation::ShiftRight, R1, 2);
        to.immediate_32(Operation::Add, R1, first_end);
        to.store(Width::Word, R10, KEY, R1);
        to.call(BOOT_TIME);
        to.store(Width::Double, R10, READ, R0);
        self.look_up();
        let to = &mut self.assembler;
        to.register_32(Operation::Move, R1, R8);
        to.immediate_32(Operation::And, R1, 3);
        to.immediate_32(Operation::ShiftLeft, R1, 2);
        to.register(Operation::Add, R0, R1);
        to.load(Width::Word, R1, R10, READ);
        to.store(Width::Word, R0, 0, R1);
        to.immediate_32(Operation::Add, R8, first_slot);
        to.store(Width::Word, R10, KEY, R8);
        self.look_up();
        let to = &mut self.assembler;
        to.store(Width::Double, R0, 8, R9);
        to.load(Width::Word, R1, R10, START + PID);
        to.store(Width::Word, R0, 4, R1);
        to.store(Width::Word, R0, 0, R7);
    }
}
