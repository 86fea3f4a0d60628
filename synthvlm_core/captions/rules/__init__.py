"""Rules on captions, one module each: a section, a statistic, bounds, and the source of both.

Belongs here: the list of rules, and what they share (text_statistics.py and the kernel below it, ratio.py). Does not
belong here: applying rules to tables (captions/filtered.py).
"""

from synthvlm_core.captions.rules.alphanumeric import Alphanumeric
from synthvlm_core.captions.rules.blocklist import Blocklist
from synthvlm_core.captions.rules.character_repetition import CharacterRepetition
from synthvlm_core.captions.rules.decontamination import Decontamination
from synthvlm_core.captions.rules.flagged_words import FlaggedWords
from synthvlm_core.captions.rules.image_text_matching import ImageTextMatching
from synthvlm_core.captions.rules.image_text_similarity import ImageTextSimilarity
from synthvlm_core.captions.rules.judge import Judge
from synthvlm_core.captions.rules.kenlm_perplexity import KenlmPerplexity
from synthvlm_core.captions.rules.language import Language
from synthvlm_core.captions.rules.lexical_diversity import LexicalDiversity
from synthvlm_core.captions.rules.most_similar import MostSimilar
from synthvlm_core.captions.rules.near_duplicates import NearDuplicates
from synthvlm_core.captions.rules.perplexity import Perplexity
from synthvlm_core.captions.rules.personal_data import PersonalData
from synthvlm_core.captions.rules.served_judge import ServedJudge
from synthvlm_core.captions.rules.special_characters import SpecialCharacters
from synthvlm_core.captions.rules.word_count import WordCount
from synthvlm_core.captions.rules.word_repetition import WordRepetition

PARTS = (
    Alphanumeric,
    CharacterRepetition,
    FlaggedWords,
    KenlmPerplexity,
    Perplexity,
    SpecialCharacters,
    WordRepetition,
    ImageTextMatching,
    ImageTextSimilarity,
    MostSimilar,
    Judge,
    ServedJudge,
    WordCount,
    LexicalDiversity,
    Language,
    PersonalData,
    Blocklist,
    Decontamination,
    NearDuplicates,
)
