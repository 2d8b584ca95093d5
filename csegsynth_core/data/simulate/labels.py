"""Short names for people of the features of virtual people, where the name of the column does not make one."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final[dict[str, str]] = {
    "first_language_english": "English is first language",
    "mother_education": "Mother's education",
    "father_education": "Father's education",
    "education_years": "Years of education",
    "hearing": "Difficulty hearing",
    "first_born": "First-born",
    "smoking_years": "Years of smoking",
    "cigarettes_per_day": "Cigarettes a day",
    "pack_years": "Pack-years smoked",
    "years_since_quit": "Years since giving up smoking",
    "second_hand_smoke_hours": "Second-hand smoke",
    "alcohol_units_week": "Alcohol a week",
    "drinking_days_week": "Days with a drink a week",
    "drinks_per_session": "Drinks on a drinking day",
    "beer_units_week": "Beer and cider a week",
    "wine_units_week": "Wine a week",
    "spirits_units_week": "Spirits a week",
    "audit_binge": "AUDIT: six or more units",
    "audit_cannot_stop": "AUDIT: unable to stop",
    "audit_failed_expected": "AUDIT: failed expectations",
    "audit_morning_drink": "AUDIT: morning drink",
    "audit_guilt": "AUDIT: guilt after drinking",
    "audit_memory": "AUDIT: memory gaps",
    "vigorous_minutes_week": "Vigorous exercise",
    "moderate_minutes_week": "Moderate exercise",
    "walking_minutes_day": "Walking",
    "sport_sessions": "Sport",
    "medications": "Daily medicines",
    "sleep_hours": "Sleep a night",
    "sleep_latency": "Time to fall asleep",
    "night_waking": "Waking at night",
    "naps": "Sleep by day",
    "coffee_cups_day": "Coffee and tea",
    "fruit_vegetables_day": "Fruit and vegetables",
    "self_rated_health": "Self-rated health",
    "pain": "Pain, last 4 weeks",
    "falls_last_year": "Falls in the last year",
    "hours_worked": "Paid work",
    "years_retired": "Years since retirement",
    "occupation_class": "Occupation",
    "job_complexity": "Mental demand of the job",
    "job_physical_demand": "Bodily demand of the job",
    "shift_work": "Ever worked shifts",
    "years_longest_job": "Years in the longest-held job",
    "supervises_staff": "Ever led people at work",
    "job_contact": "Dealing with people at work",
    "job_courses": "Courses for work, last 5 years",
    "commute_minutes": "Way to work",
    "household_size": "People in the household",
    "years_with_partner": "Years with partner",
    "caring_hours": "Care for relatives",
    "homes_lived_in": "Homes since 18",
    "pets": "Keeps a pet",
    "income_band": "Household income",
    "financial_worry": "Worries about money",
    "drives": "Drives a car",
    "urban": "Village to city",
    "friends_seen_week": "Friends met",
    "family_seen_week": "Relatives met",
    "neighbours_seen_week": "Neighbours talked to",
    "calls_week": "Telephone calls",
    "online_contacts_week": "Contacts online",
    "confidants": "People to confide in",
    "lonely_companionship": "UCLA-3: lacks companionship",
    "lonely_left_out": "UCLA-3: feels left out",
    "lonely_isolated": "UCLA-3: feels isolated",
    "support_listen": "Support: somebody to listen",
    "support_advice": "Support: somebody for advice",
    "support_help": "Support: help when ill",
    "support_company": "Support: company",
    "support_affection": "Support: affection",
    "club_memberships": "Clubs and societies",
    "volunteering_hours": "Voluntary work",
    "religious_attendance": "Religious services",
    "community_events": "Local events",
    "leisure_concerts": "Leisure: concerts and museums",
    "leisure_pub": "Leisure: pubs and cafés",
    "leisure_walking_for_pleasure": "Leisure: walks",
    "leisure_writing": "Leisure: writing",
    "leisure_board_games": "Leisure: cards, chess, board games",
    "leisure_playing_music": "Leisure: playing music, singing",
    "tv_hours_day": "Television",
    "internet_hours_week": "Internet outside work",
    "musical_training_years": "Music lessons",
    "languages_spoken": "Languages beside the first",
    "hads_a_not_relaxed": "HADS anxiety: not at ease",
    "hads_d_no_looking_forward": "HADS depression: no anticipation",
    "hads_d_slowed": "HADS depression: slowed down",
    "vstm_control_error": "VSTM control: error",
    "vstm_control_rt": "VSTM control: reaction time",
    "proverb_1": "Proverb: Rome not built in a day",
    "proverb_2": "Proverb: still waters run deep",
    "proverb_3": "Proverb: a rolling stone …",
    "proverb_total": "Proverbs: total",
    "cattell_total": "Cattell: total",
}
_VSTM: Final = {
    "precision": "precision",
    "capacity": "items held",
    "error": "error",
    "rt": "reaction time",
    "rt_sd": "reaction time, SD",
    "guess_rate": "guesses",
    "swaps": "swaps",
}
_SENTENCE: Final = {
    "rt": "RT",
    "rt_sd": "RT, SD",
    "rejected": "rejected",
    "dprime": "d′",
}
_CATTELL: Final = {"": "right", "_attempted": "tried", "_seconds": "time taken"}
_SCALES: Final = {"hads_a_": "HADS anxiety: ", "hads_d_": "HADS depression: ", "leisure_": "Leisure: "}


def label_of(name: str) -> str:
    """Short name for people of a feature; empty where that of its column will do (`Feature.label`)."""
    if name in _WORDS:
        return _WORDS[name]
    if found := re.fullmatch(r"vstm_([a-z_]+)_(\d)", name):
        one, size = found.groups()
        return f"VSTM {size} item{'s' * (size != '1')}: {_VSTM[one]}"
    if found := re.fullmatch(r"sentence_(rt|rt_sd|rejected|dprime)_([a-z]+)", name):
        return f"Sentences, {found[2]}: {_SENTENCE[found[1]]}"
    if found := re.fullmatch(r"cattell_([a-z]+?)(_attempted|_seconds|)", name):
        return f"Cattell {found[1]}: {_CATTELL[found[2]]}"
    for start, scale in _SCALES.items():
        if name.startswith(start):
            return scale + name.removeprefix(start).replace("_", " ")
    return ""
