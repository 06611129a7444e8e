"""What reads new samples as training read its own, and says what an answer means; numpy alone, no torch.

`Scaler` standardises channels, a whole sequence or step by step (`RunningScaler`), with the same bits;
`SequenceSchema` and `ForecastSchema` are config.json's section "schema". `data` and `tasks` train
with them, `stream` runs with them. All names are for other rooms; the public one is `unrolled.data.Scaler`.
"""

from unrolled.schema.distributions import FREEDOM as FREEDOM
from unrolled.schema.distributions import LEAST as LEAST
from unrolled.schema.distributions import log_gamma as log_gamma
from unrolled.schema.distributions import rising as rising
from unrolled.schema.forecasts import ForecastSchema as ForecastSchema
from unrolled.schema.names import is_unicode as is_unicode
from unrolled.schema.names import names_of as names_of
from unrolled.schema.reading import Forecast as Forecast
from unrolled.schema.reading import Reading as Reading
from unrolled.schema.reading import SequenceReading as SequenceReading
from unrolled.schema.reading import SeriesReading as SeriesReading
from unrolled.schema.reading import forecasts_of as forecasts_of
from unrolled.schema.reading import merged as merged
from unrolled.schema.reading import rows_of as rows_of
from unrolled.schema.running import RunningScaler as RunningScaler
from unrolled.schema.running import ScalerState as ScalerState
from unrolled.schema.scaling import MOST_NUMBER as MOST_NUMBER
from unrolled.schema.scaling import MOST_TIME as MOST_TIME
from unrolled.schema.scaling import Scaler as Scaler
from unrolled.schema.scaling import a_number as a_number
from unrolled.schema.scaling import float32_numbers as float32_numbers
from unrolled.schema.scaling import within as within
from unrolled.schema.sequences import CLIP as CLIP
from unrolled.schema.sequences import SequenceSchema as SequenceSchema
from unrolled.schema.sequences import sigmoid as sigmoid
from unrolled.schema.sequences import softmax as softmax
from unrolled.schema.sequences import temperature_of as temperature_of

__all__: list[str] = []
