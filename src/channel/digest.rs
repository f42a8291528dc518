//! A digest of what is copied between a guest and a disk: XXH64, which takes few instructions where each is translated.
//! Both ends compile it.

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;
const STRIPE: usize = 32;

pub struct Digest {
    lanes: [u64; 4],
    length: u64,
    /// What is no whole stripe yet.
    rest: [u8; STRIPE],
    left: usize,
}

impl Digest {
    pub fn new() -> Self {
        let lanes = [P1.wrapping_add(P2), P2, 0, 0_u64.wrapping_sub(P1)];
        Self { lanes, length: 0, rest: [0; STRIPE], left: 0 }
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.left > 0 {
            let (now, later) = bytes.split_at(bytes.len().min(STRIPE - self.left));
            self.rest[self.left..self.left + now.len()].copy_from_slice(now);
            self.left += now.len();
            bytes = later;
            if self.left < STRIPE {
                return;
            }
            self.left = 0;
            let rest = self.rest;
            self.add_stripes(&rest);
        }
        let (stripes, rest) = bytes.split_at(bytes.len() / STRIPE * STRIPE);
        self.add_stripes(stripes);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.left = rest.len();
    }

    fn add_stripes(&mut self, stripes: &[u8]) {
        let [mut a, mut b, mut c, mut d] = self.lanes;
        let (stripes, _) = stripes.as_chunks::<STRIPE>();
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<8>();
            a = round(a, u64::from_le_bytes(words[0]));
            b = round(b, u64::from_le_bytes(words[1]));
            c = round(c, u64::from_le_bytes(words[2]));
            d = round(d, u64::from_le_bytes(words[3]));
        }
        self.lanes = [a, b, c, d];
    }

    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut hash = if self.length < STRIPE as u64 {
            P5
        } else {
            let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
            let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
            self.lanes.iter().fold(sum, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(P1).wrapping_add(P4))
        };
        hash = hash.wrapping_add(self.length);
        let (words, rest) = self.rest[..self.left].as_chunks::<8>();
        for word in words {
            hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1);
            hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        }
        for byte in rest {
            hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
        hash ^ (hash >> 32)
    }
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh64::xxh64;

    use super::*;

    #[test]
    fn the_digest_is_that_of_the_crate_in_whatever_pieces_it_is_made() {
        let bytes: Vec<u8> = (0..1000_usize).map(|n| (n * 31 + n / 7) as u8).collect();
        for length in (0..100).chain([255, 256, 257, 999, 1000]) {
            let expected = xxh64(&bytes[..length], 0);
            for piece in [1, 3, 8, 31, 32, 33, 64, 1000] {
                let mut digest = Digest::new();
                bytes[..length].chunks(piece).for_each(|piece| digest.add(piece));
                assert_eq!(digest.finish(), expected, "{length} bytes in pieces of {piece}");
            }
        }
    }
}
