"""What is said in the clean clips, by which voice, and in which room: the plan as data.

The sentences were written for this project. A voice is an espeak-ng language with one of its
formant voice variants (`de+f2`); variants built on other synthesizers (mbrola, klatt) are not used.
"""

# ruff: noqa: RUF001 (sentences in many scripts)

from dataclasses import dataclass


@dataclass(frozen=True)
class Talker:
    """One voice saying one text.

    Attributes:
        voice: espeak-ng voice and variant, e.g. `de+f2`.
        text: What is said.
        speed: Words per minute.
        pitch: 0 to 99, 50 is the voice's own.
        start_s: When this talker begins, in seconds after the first one.
    """

    voice: str
    text: str
    speed: int = 165
    pitch: int = 50
    start_s: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """One clean clip.

    Attributes:
        name: File name without suffix.
        talkers: Who speaks; several talkers may overlap.
        reverberation_s: Reverberation time (T60) of the room; 0 is no room at all.
        level_dbfs: Root-mean-square level of the clip.
    """

    name: str
    talkers: tuple[Talker, ...]
    reverberation_s: float = 0.0
    level_dbfs: float = -31.0


def _one(
    name: str,
    voice: str,
    speed: int,
    pitch: int,
    text: str,
    reverberation_s: float = 0.0,
    level_dbfs: float = -31.0,
) -> Utterance:
    return Utterance(name, (Talker(voice, text, speed, pitch),), reverberation_s, level_dbfs)


UTTERANCES: tuple[Utterance, ...] = (
    _one("en_01", "en-gb+f2", 165, 52, "The kettle is on, so sit down and tell me everything."),
    _one(
        "en_02", "en-us+m3", 150, 38, "Turn left after the bridge. Then it's the third house.", 0.3
    ),
    _one(
        "en_03",
        "en-us+f4",
        175,
        62,
        "Seven wet dogs chased a yellow ball across the beach.",
        0,
        -24,
    ),
    _one("en_04", "en-gb-scotland+m1", 170, 45, "I can't hear you over the engine. Say it again!"),
    _one(
        "en_05", "en-gb-x-rp+f1", 150, 70, "Which of these keys opens the shed? Try the small one."
    ),
    _one(
        "en_06",
        "en-us-nyc+m7",
        185,
        30,
        "Coffee, black, no sugar, and two of those rolls, thanks.",
        0.2,
    ),
    _one("en_07", "en-029+m4", 145, 55, "We fish in the morning, and we sell by noon.", 0, -34),
    _one("en_08", "en-us+whisper", 140, 50, "Quiet now, the baby has just fallen asleep.", 0, -36),
    _one("de_01", "de+f2", 165, 48, "Der Zug nach Hamburg fährt heute von Gleis sieben.", 0.25),
    _one("de_02", "de+m2", 160, 35, "Kannst du das Fenster schließen? Es ist laut draußen."),
    _one("fr_01", "fr-fr+f1", 170, 58, "Le marché ouvre à huit heures, mais j'y vais plus tard."),
    _one(
        "fr_02", "fr-be+m3", 160, 42, "Attention, la marche est glissante. Donnez-moi la main.", 0.4
    ),
    _one("es_01", "es+f5", 170, 60, "Mañana por la tarde iremos al río con los niños."),
    _one(
        "es_02",
        "es-419+m2",
        180,
        40,
        "¿Dónde dejaste las llaves? Las necesito ahora mismo.",
        0,
        -22,
    ),
    _one("it_01", "it+f3", 165, 54, "La finestra è aperta e si sente il rumore della strada.", 0.2),
    _one("pt_01", "pt-br+m5", 170, 33, "O ônibus atrasou de novo, então vim de bicicleta."),
    _one("pt_02", "pt+f2", 160, 66, "Hoje à noite vamos jantar em casa da minha avó.", 0, -33),
    _one("nl_01", "nl+m1", 175, 47, "De winkel sluit om zes uur, dus we moeten opschieten."),
    _one("sv_01", "sv+f4", 155, 57, "Snön smälter långsamt och gatorna är fulla av vatten.", 0.3),
    _one("nb_01", "nb+m3", 165, 28, "Vi går på tur i skogen hver søndag, uansett vær."),
    _one("da_01", "da+f1", 150, 63, "Kan du høre mig nu, eller skal jeg tale højere?"),
    _one("pl_01", "pl+m6", 160, 44, "Proszę mówić głośniej, bo tu jest bardzo duży hałas.", 0.15),
    _one("cs_01", "cs+f3", 165, 51, "Vlak přijede za deset minut na druhé nástupiště."),
    _one("ru_01", "ru+m2", 160, 37, "Сегодня утром шёл дождь, а теперь светит солнце.", 0, -25),
    _one("uk_01", "uk+f2", 155, 59, "Будь ласка, зачиніть двері, бо тут холодно.", 0.35),
    _one("fi_01", "fi+m4", 160, 41, "Järven toisella puolella näkyy pieni punainen talo."),
    _one("hu_01", "hu+f5", 165, 72, "Holnap reggel korán indulunk, hozz magaddal kabátot.", 0, -29),
    _one("el_01", "el+m1", 170, 32, "Το πλοίο φεύγει στις πέντε το απόγευμα από το λιμάνι."),
    _one("tr_01", "tr+f4", 160, 56, "Yarın sabah pazara gidip taze ekmek alacağım."),
    _one("ro_01", "ro+m7", 165, 49, "Copiii se joacă în curte, iar câinele doarme la soare.", 0.25),
    _one("hi_01", "hi+f1", 160, 53, "आज मौसम बहुत अच्छा है, चलो बाहर चलते हैं।"),
    _one(
        "cmn_01",
        "cmn-latn-pinyin+f3",
        150,
        50,
        "jin1tian1 tian1qi4 hen3 hao3, wo3men5 qu4 gong1yuan2 ba5.",
        0.2,
    ),
    _one("ja_01", "ja+m2", 150, 46, "あしたのあさ、えきのまえであいましょう。"),
    _one("ko_01", "ko+f2", 140, 61, "내일 아침에 역 앞에서 만나요. 늦지 마세요."),
    _one("ar_01", "ar+m5", 140, 36, "صباح الخير، كيف حالك اليوم؟", 0.3),
    _one("sw_01", "sw+f2", 160, 55, "Habari za asubuhi, rafiki yangu.", 0, -35),
    _one("id_01", "id+m2", 165, 43, "Tolong kecilkan suara radio itu, saya sedang menelepon."),
    _one("vi_01", "vi+f3", 150, 58, "Sáng nay trời mưa to, nên tôi đi làm muộn."),
    Utterance(
        "dialogue_en_01",
        (
            Talker("en-us+f3", "Are you still there?", 170, 60),
            Talker("en-gb+m2", "Yes, the line is bad.", 165, 35, start_s=1.5),
            Talker("en-us+f3", "Then call me back.", 175, 60, start_s=3.1),
        ),
        reverberation_s=0.2,
    ),
    Utterance(
        "overlap_de_fr_01",
        (
            Talker("de+m4", "Wir müssen am Montag um neun Uhr da sein.", 160, 45),
            Talker("fr-fr+f2", "Mais non, c'est mardi, j'en suis sûre!", 170, 62, start_s=1.2),
        ),
        level_dbfs=-25.0,
    ),
    Utterance(
        "overlap_es_it_01",
        (
            Talker("es+m1", "Ponga la mesa, que ya vienen todos.", 165, 40),
            Talker("it+f1", "Arrivo subito, ancora un minuto!", 170, 64, start_s=1.6),
        ),
        reverberation_s=0.35,
    ),
    Utterance(
        "overlap_en_pl_nl_01",
        (
            Talker("en-us+m5", "Please keep to the right side of the stairs.", 160, 32),
            Talker("pl+f4", "Gdzie jest wyjście na ulicę?", 165, 58, start_s=0.9),
            Talker("nl+f1", "Wacht even op mij!", 175, 70, start_s=2.4),
        ),
        reverberation_s=0.45,
        level_dbfs=-28.0,
    ),
)
