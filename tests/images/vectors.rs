//! The test vectors of the conversion's specification: fill bytes, and the digests of what Xen's converter made of them.

use super::number;

/// An image and the SHA-256 digests of it and of its libxl stream.
pub struct Vector {
    pub name: &'static str,
    pub hvm: bool,
    pub bytes: Vec<u8>,
    pub digest: &'static str,
    pub libxl_length: u64,
    pub libxl_digest: &'static str,
}

/// The vectors A to F.
pub fn vectors() -> Vec<Vector> {
    const B: &str = "c5fd1867c82d446e65f93b8dcb4bc218954bc0cd67d6e80ffd8a0a303db45b66";
    const D: &str = "b31ff05ed8a24e8683d28c2ca4afffdaee7377b9e7edc654d95468f33a5abd4a";
    let vector = |name, hvm, bytes, digest, libxl_length, libxl_digest| Vector {
        name,
        hvm,
        bytes,
        digest,
        libxl_length,
        libxl_digest,
    };
    vec![
        vector(
            "A",
            false,
            pv(8, 5168),
            "f43e6848d1bb240e7cb2479c58bb3ad89179a4a20abdc18eef843222293989c4",
            27248,
            "b8b482f1c1d2473674ce4c5c83fb38629caab5ed822af30a7c200bf4ea599fb9",
        ),
        vector(
            "B",
            false,
            pv(8, 2800),
            "a0c9b5f41611b2c62ffad49242522792d52252ceba86f2426c2ea77d0027c5f9",
            22512,
            B,
        ),
        vector(
            "C",
            false,
            pv(4, 2800),
            "b099eabe509511def06e405d4f356aa074dab8a93bde32d31bbb00419b6be35f",
            22512,
            B,
        ),
        vector(
            "D",
            true,
            hvm(8, true),
            "ea047387cad71da0421863bd976a76e8232a370bdaf1876fec77bbcf0b0dc58f",
            12640,
            D,
        ),
        vector(
            "E",
            true,
            hvm(4, true),
            "d8f200dab013a15da3746f3775d9cb25f7a3b9fc8a22026f4b3108606479ebb7",
            12640,
            D,
        ),
        vector(
            "F",
            true,
            hvm(8, false),
            "8de42d2d2fd3c3d5932f2068103fce76b2e865122ed5848b87f282252213f856",
            12640,
            D,
        ),
    ]
}

fn pv(word: usize, context: usize) -> Vec<u8> {
    let ul = |value| number(value, word);
    let u32 = |value| number(value, 4);
    let chunk = |id: i32| id.to_le_bytes().to_vec();
    let pinned = if context == 5168 { 0xc000_0007 } else { 0xb000_0007 };
    let length = context as u64;
    let mut parts = vec![
        ul(16),
        ul(u64::MAX),
        u32(length + 16),
        [b"vcpu".to_vec(), u32(length), vec![0; context]].concat(),
        [b"extv".to_vec(), u32(0)].concat(),
        ul(5),
        [chunk(-7), u32(1), number(123_456_789, 8), u32(2_400_000), u32(3)].concat(),
        [chunk(4), ul(5), ul(6), ul(pinned), ul(0xf000_0000)].concat(),
        [[1; 4096], [2; 4096], [3; 4096]].concat(),
        [chunk(-2), chunk(1), number(3, 8), chunk(-9), chunk(0)].concat(),
        [u32(2), ul(10), ul(11)].concat(),
    ];
    for vcpu in 0..2_u8 {
        parts.push(vec![vcpu + 1; context]);
        parts.push([u32(vcpu.into()), u32(32), vec![0xaa; 120]].concat());
    }
    parts.push(vec![0x11; 4096]);
    parts.concat()
}

fn hvm(word: usize, length: bool) -> Vec<u8> {
    let ul = |value| number(value, word);
    let u32 = |value| number(value, 4);
    let chunk = |id: i32| id.to_le_bytes().to_vec();
    let parameter = |id: i32, value| [chunk(id), u32(0), number(value, 8)].concat();
    let context = [
        [number(1, 2), number(0, 2), u32(24)].concat(),
        [u32(0x5438_1286), u32(1), number(0, 8), u32(0x6f2), u32(0)].concat(),
        vec![0; 8],
    ]
    .concat();
    let state = b"QEVM\0\0\0\x02zz".to_vec();
    let model = if length {
        [b"DeviceModelRecord0002".to_vec(), u32(10), state].concat()
    } else {
        [b"QemuDeviceModelRecord".to_vec(), state].concat()
    };
    [
        ul(0x1000),
        [chunk(4), ul(0), ul(1), ul(2), ul(0xf000_0000), vec![0x42; 12288]].concat(),
        [chunk(-2), chunk(0), number(1, 8)].concat(),
        [parameter(-3, 0xfeff_c000), parameter(-4, 0xfeff_0000)].concat(),
        [parameter(-8, 0xf_efff), parameter(-10, 1)].concat(),
        [chunk(-9), chunk(0)].concat(),
        [number(0xf_effd, 8), number(0xf_effe, 8), number(0xf_effc, 8)].concat(),
        [u32(40), context].concat(),
        model,
    ]
    .concat()
}
