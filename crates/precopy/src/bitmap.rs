//! A bit for each page.

/// A bit for each page of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    pages: u64,
}

impl Bitmap {
    /// A bitmap for pfns 0 to `pages` - 1, all clear.
    pub fn new(pages: u64) -> Bitmap {
        Bitmap {
            words: vec![0; usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX)],
            pages,
        }
    }

    /// How many pages it is for.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Sets all bits.
    pub fn set_all(&mut self) {
        self.words.fill(u64::MAX);
        let rest = self.pages % 64;
        if rest != 0
            && let Some(last) = self.words.last_mut()
        {
            *last = (1 << rest) - 1;
        }
    }

    /// Clears all bits.
    pub fn clear_all(&mut self) {
        self.words.fill(0);
    }

    /// Sets a page's bit; a pfn beyond the end is ignored.
    pub fn set(&mut self, pfn: u64) {
        if pfn < self.pages
            && let Some(word) = self.words.get_mut((pfn / 64) as usize)
        {
            *word |= 1 << (pfn % 64);
        }
    }

    /// Whether a page's bit is set.
    pub fn get(&self, pfn: u64) -> bool {
        self.words
            .get((pfn / 64) as usize)
            .is_some_and(|word| word >> (pfn % 64) & 1 != 0)
    }

    /// How many bits are set.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many bits are set here and in `other` as well.
    pub fn count_common(&self, other: &Bitmap) -> u64 {
        self.words
            .iter()
            .zip(&other.words)
            .map(|(one, other)| u64::from((one & other).count_ones()))
            .sum()
    }

    /// The pfns whose bits are set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| u64::from(word.trailing_zeros()))?;
                word &= word - 1;
                Some(at as u64 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_a_set_holds(pages in 1..300_u64, pfns in prop::collection::btree_set(0..400_u64, 0..100)) {
            let mut bitmap = Bitmap::new(pages);
            pfns.iter().for_each(|pfn| bitmap.set(*pfn));
            let held: Vec<u64> = pfns.iter().copied().filter(|pfn| *pfn < pages).collect();
            prop_assert_eq!(bitmap.iter().collect::<Vec<_>>(), held.clone());
            prop_assert_eq!(bitmap.count(), held.len() as u64);
            bitmap.set_all();
            prop_assert_eq!(bitmap.iter().collect::<Vec<_>>(), (0..pages).collect::<Vec<_>>());
        }
    }
}
