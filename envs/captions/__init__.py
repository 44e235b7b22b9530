"""What an environment can say in words: what a step did, and what is there."""

from envs.captions.base import DID, SCENE, Captioned, Captioner, Words, not_captioned

__all__ = ["DID", "SCENE", "Captioned", "Captioner", "Words", "not_captioned"]
