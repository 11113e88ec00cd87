// Package peerlink is the wire between two relays that replicate a board: the frames, and the
// records that carry them over a connection. It is for core/exchange, which decides what the
// frames mean, and for core/replica, which has the connections. It has no policy.
//
// # Frames
//
// A link carries frames in both directions. A frame has a header of four bytes, its type and the
// length of its payload (24 bits), and a payload of at most [MaxPayload] bytes. Integers are
// big-endian. Decoding is strict: every frame has exactly one encoding, and what differs from it
// in a single bit is [ErrFrame], after which the link is closed.
//
//	01 HELLO    proto u16 (1), plugin u8+bytes (1..64), version u8+bytes (0..128), state,
//	            now u64 (Unix seconds), flags u8 (bit 0: takes), nonce 32
//	02 STATE    state: epoch 16, first u64, last u64, count u64, floor u32
//	03 CREDIT   channel u8 (1 messages, 2 envelopes), bytes u32 (at least 1)
//	04 PING     8 bytes
//	05 PONG     the 8 bytes of a PING
//	10 MESSAGE  flags u8 (bit 0: more follows), 1..32768 bytes; exactly 32768 if more follows
//	20 OFFER    1..1024 × (born u32, id 32, size u32); size 0 if unknown, else 1..16384
//	21 WANT     kind u8 (0 requested, 1 answers an OFFER), 1..1024 × id 32
//	22 BODY     kind u8 (0 pushed, 1 requested, 2 offered), born u32, signature u16+bytes, ciphertext
//	23 GONE     1..1024 × id 32
//	24 TAKEN    retry_after u32 (seconds), 1..1024 × (id 32, status u8)
//	3F ERR      code u16, retry_after u32 (seconds)
//
// The statuses of TAKEN are those of [peersync.OutcomeStatus] that a receiver can give: stored,
// known, too old, over quota, not allowed, invalid and lost. retry_after of TAKEN is 0 unless a
// status is over quota.
//
// # Opening
//
// The first frame of each side is HELLO, and there is no other one. A side sends nothing else
// before it has received the HELLO of the other. Texts in it are UTF-8 without control
// characters. Both plugins have the same name.
//
// # Credit
//
// MESSAGE frames use the credit of channel 1, and BODY frames that of channel 2. A frame costs
// its length, header included, and [FrameCost] in addition, because a small frame takes more
// memory than it has bytes; see [CreditCost]. A side begins with [InitialMessages] and
// [InitialEnvelopes], and gets more by CREDIT, never above the initial value. It never exceeds
// its credit. Other frames need none: what they can make wait is bounded by their answers.
//
// # Envelopes
//
// A BODY is pushed without being asked for, or answers a WANT. The receiver computes the id from
// the bytes. An id that is offered is settled by TAKEN, or else by WANT, BODY and then TAKEN. An
// id that is pushed is settled by TAKEN, and one that is requested by its BODY. In the place of a
// BODY that was wanted, GONE settles it. At most [MaxOffered] ids are offered and not settled, and
// at most [MaxRequested] are requested and not settled. An id is offered or pushed again only when
// it is settled, and so for requests.
//
// # Records
//
// See the record layer of this package.
package peerlink
