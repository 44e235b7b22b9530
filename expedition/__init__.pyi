from expedition.errors import UserError as UserError
from experiments.library.explorer import Dream as Dream
from experiments.library.explorer import Explorer as Explorer
from experiments.library.explorer import load as load
from experiments.library.runs import finetune as finetune
from experiments.library.runs import pretrain as pretrain
from experiments.library.runs import run_study as run_study
from exploration import IntrinsicReward as IntrinsicReward
from exploration import Sequences as Sequences
from world_model.prediction import Prediction as Prediction
from world_model.prediction import Seen as Seen

__version__: str
